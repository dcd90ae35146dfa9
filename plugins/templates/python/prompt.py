"""{{description}}"""

from wit_world import exports
from wit_world.exports.lifecycle import Info
from wit_world.exports.prompt import Verdict_Refuse, Verdict_Unchanged


class Lifecycle(exports.Lifecycle):
    def describe(self):
        return Info(name="{{name}}", version="0.1.0", description="{{description}}")

    # Called once for each instance. The configuration is the text of one JSON object.
    def init(self, config_json):
        pass


class Prompt(exports.Prompt):
    def process(self, request):
        if any("password" in message.content for message in request.messages):
            return Verdict_Refuse("please do not send passwords")
        return Verdict_Unchanged()
