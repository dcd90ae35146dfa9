"""{{description}}"""

from wit_world import exports
from wit_world.exports.lifecycle import Info
from wit_world.exports.text import Verdict_Emit


class Lifecycle(exports.Lifecycle):
    def describe(self):
        return Info(name="{{name}}", version="0.1.0", description="{{description}}")

    # Called once for each instance. The configuration is the text of one JSON object.
    def init(self, config_json):
        pass


class Text(exports.Text):
    # A chunk has whole characters and is not empty. Verdict_Pass() passes it on as it is.
    def push(self, chunk):
        return Verdict_Emit(chunk.upper())

    # Called at the end of the answer. A plugin that held text back returns it here.
    def finish(self):
        return ""
