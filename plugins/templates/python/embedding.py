"""{{description}}"""

from wit_world import exports
from wit_world.exports.embedding import Vectors, VectorsVerdict_Replace, Verdict_Replace
from wit_world.exports.lifecycle import Info


class Lifecycle(exports.Lifecycle):
    def describe(self):
        return Info(name="{{name}}", version="0.1.0", description="{{description}}")

    # Called once for each instance. The configuration is the text of one JSON object.
    def init(self, config_json):
        pass


class Embedding(exports.Embedding):
    # Called with all texts of a request, before the encoder.
    def before(self, request):
        return Verdict_Replace(["query: " + text for text in request.texts])

    # Called with all vectors of the request: one for each text, one after the other in `values`.
    def after(self, vectors):
        kept = max(1, vectors.dimensions // 2)
        values = [value for at, value in enumerate(vectors.values) if at % vectors.dimensions < kept]
        return VectorsVerdict_Replace(Vectors(dimensions=kept, values=values))
