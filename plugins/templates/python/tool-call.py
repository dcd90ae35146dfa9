"""{{description}}"""

from wit_world import exports
from wit_world.exports.lifecycle import Info
from wit_world.exports.tool_call import (
    Outcome,
    OutcomeVerdict_Rewrite,
    OutcomeVerdict_Unchanged,
    Verdict_Refuse,
    Verdict_Unchanged,
)

# Characters of a result that the model reads at most.
CHARACTERS_MAX = 20


class Lifecycle(exports.Lifecycle):
    def describe(self):
        return Info(name="{{name}}", version="0.1.0", description="{{description}}")

    # Called once for each instance. The configuration is the text of one JSON object.
    def init(self, config_json):
        pass


class ToolCall(exports.ToolCall):
    # Called before each call of any tool, those of MCP servers included.
    def before(self, call):
        if '"/etc/' in call.arguments_json:
            return Verdict_Refuse("paths of the system are not allowed")
        return Verdict_Unchanged()

    # Called with the result of each call that ran.
    def after(self, call, outcome):
        if len(outcome.content) <= CHARACTERS_MAX:
            return OutcomeVerdict_Unchanged()
        cut = outcome.content[:CHARACTERS_MAX] + "…"
        return OutcomeVerdict_Rewrite(Outcome(content=cut, is_error=outcome.is_error))
