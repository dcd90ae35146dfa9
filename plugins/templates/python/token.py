"""{{description}}"""

import token

from wit_world import exports
from wit_world.exports.lifecycle import Info
from wit_world.exports.token import Action_Bias, Action_Keep, Needs, Weighted


class Lifecycle(exports.Lifecycle):
    def describe(self):
        return Info(name="{{name}}", version="0.1.0", description="{{description}}")

    # Called once for each instance. The configuration is the text of one JSON object.
    def init(self, config_json):
        pass


# The state of one message. `from wit_world.imports import vocabulary` gives the bytes of tokens.
class Session(exports.token.Session):
    # Called at the start of each message of the assistant. A request for several answers has a session for each.
    @classmethod
    def start(cls, sequence):
        return cls()

    # With candidates, `next` sees the most likely tokens. With hold_back it can take tokens back.
    def needs(self):
        return Needs(candidates=0, hold_back=0)

    # Called before each token. Other answers are Action_Allow, Action_Force, Action_Backtrack and Action_Stop.
    def next(self, step):
        if not step.accepted:
            return Action_Keep()
        return Action_Bias(Weighted(tokens=[step.accepted[-1]], values=[-100.0]))


# The class is looked up in the module with the name of the interface, which is a module of Python too.
token.Session = Session
