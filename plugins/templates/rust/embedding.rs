//! {{description}}

use firebox_sdk::{Embedding, EmbeddingRequest, EmbeddingVerdict, Plugin, Vectors, VectorsVerdict};

struct Halve;

impl Plugin for Halve {
    const DESCRIPTION: &'static str = "{{description}}";

    /// Called once for each instance. The configuration is the text of one JSON object.
    fn init(_config_json: &str) -> Result<Self, String> {
        Ok(Halve)
    }
}

impl Embedding for Halve {
    /// Called with all texts of a request, before the encoder.
    fn before(&mut self, request: EmbeddingRequest) -> Result<EmbeddingVerdict, String> {
        Ok(EmbeddingVerdict::Replace(request.texts.into_iter().map(|text| format!("query: {text}")).collect()))
    }

    /// Called with all vectors of the request: one for each text, one after the other in `values`.
    fn after(&mut self, vectors: Vectors) -> Result<VectorsVerdict, String> {
        let kept = (vectors.dimensions / 2).max(1);
        let each = vectors.values.chunks(vectors.dimensions as usize);
        let values = each.flat_map(|vector| vector.iter().take(kept as usize).copied()).collect();
        Ok(VectorsVerdict::Replace(Vectors { dimensions: kept, values }))
    }
}

firebox_sdk::plugin!(Halve: embedding);
