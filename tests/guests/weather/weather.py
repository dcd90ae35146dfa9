"""A tool that asks a server for the weather."""

import json
from urllib.parse import quote

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.exports.tool import Content_Text, Definition, Effects, Outcome
from wit_world.imports import outgoing_handler, store
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.wasi_http_types import Fields, OutgoingRequest, Scheme_Https

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def get(host, path):
    """The status and the body of the answer to a GET request."""
    request = OutgoingRequest(Fields())
    request.set_scheme(Scheme_Https())
    request.set_authority(host)
    request.set_path_with_query(path)
    with outgoing_handler.handle(request, None) as future:
        with future.subscribe() as answered:
            answered.block()
        match future.get():
            case Ok(Ok(response)):
                pass
            case Ok(Err(error)):
                raise OSError(type(error).__name__)
            case _:
                raise OSError("there is no answer")
    parts = []
    with response:
        with response.consume() as body, body.stream() as stream:
            try:
                while True:
                    parts.append(stream.blocking_read(65536))
            except Err as end:
                if not isinstance(end.value, StreamError_Closed):
                    raise OSError("the answer ends early") from end
        return response.status(), b"".join(parts)


class Tool(exports.Tool):
    def definitions(self):
        return [
            Definition(
                name="weather",
                title=None,
                description="The weather in a city.",
                input_schema_json=json.dumps(SCHEMA),
                output_schema_json=None,
                effects=Effects.READ_ONLY | Effects.OPEN_WORLD,
            )
        ]

    def call(self, name, arguments_json):
        city = json.loads(arguments_json)["city"]
        try:
            status, body = get("api.example.org", f"/v1/{quote(city)}?units={store.get('units')}")
        except OSError as error:
            return Outcome(content=[Content_Text(f"the weather is not known: {error}")], is_error=True)
        if status == 404:
            return Outcome(content=[Content_Text(f"there is no city {city}")], is_error=True)
        return Outcome(content=[Content_Text(f"{json.loads(body)['sky']} in {city}")], is_error=False)
