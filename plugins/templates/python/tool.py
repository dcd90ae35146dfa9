"""{{description}}"""

import json

from wit_world import exports
from wit_world.exports.lifecycle import Info
from wit_world.exports.tool import Content_Text, Definition, Effects, Outcome

SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}


class Lifecycle(exports.Lifecycle):
    def describe(self):
        return Info(name="{{name}}", version="0.1.0", description="{{description}}")

    # Called once for each instance. The configuration is the text of one JSON object.
    def init(self, config_json):
        pass


class Tool(exports.Tool):
    def definitions(self):
        return [
            Definition(
                name="shout",
                title=None,
                description="Turns a text into upper case.",
                input_schema_json=json.dumps(SCHEMA),
                output_schema_json=None,
                effects=Effects.READ_ONLY,
            )
        ]

    # The host has checked that the arguments fit the schema. An error is a result that the model reads.
    def call(self, name, arguments_json):
        text = json.loads(arguments_json)["text"]
        return Outcome(content=[Content_Text(text.upper())], is_error=False)
