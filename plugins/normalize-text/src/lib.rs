//! Cleans texts before an encoder reads them, and shortens the vectors.
//!
//! White space becomes single spaces, and control and zero-width characters are removed. Configuration, with all keys optional
//! and these defaults: `{"lowercase": false, "prefix": "", "dimensions": 0}`. `dimensions` keeps the first numbers of each
//! vector and scales the vector to length 1 again, which is how models of the Matryoshka kind are shortened (Kusupati et al.
//! 2022). 0 keeps the vectors as they are.

use firebox_sdk::{Arguments, Embedding, EmbeddingRequest, EmbeddingVerdict, Plugin, Vectors, VectorsVerdict};

struct NormalizeText {
    lowercase: bool,
    prefix: String,
    dimensions: u32,
}

impl Plugin for NormalizeText {
    const DESCRIPTION: &'static str = "Cleans texts before they are embedded, and shortens their vectors.";

    fn init(config_json: &str) -> Result<Self, String> {
        let config = Arguments::parse_config(config_json)?;
        config.only(&["lowercase", "prefix", "dimensions"])?;
        let prefix = if config.get("prefix").is_some() { config.text("prefix")? } else { String::new() };
        let dimensions = match config.get("dimensions") {
            Some(number) => number.parse().map_err(|_| "configuration key \"dimensions\" must be a whole number")?,
            None => 0,
        };
        Ok(Self { lowercase: config.flag("lowercase", false)?, prefix, dimensions })
    }
}

impl Embedding for NormalizeText {
    fn before(&mut self, request: EmbeddingRequest) -> Result<EmbeddingVerdict, String> {
        let texts: Vec<String> = request.texts.iter().map(|text| self.clean(text)).collect();
        if let Some(index) = texts.iter().position(|text| text.len() == self.prefix.len()) {
            return Ok(EmbeddingVerdict::Refuse(format!("text {index} has nothing but white space; leave it out")));
        }
        Ok(if texts == request.texts { EmbeddingVerdict::Unchanged } else { EmbeddingVerdict::Replace(texts) })
    }

    fn after(&mut self, vectors: Vectors) -> Result<VectorsVerdict, String> {
        if self.dimensions == 0 || self.dimensions >= vectors.dimensions {
            return Ok(VectorsVerdict::Unchanged);
        }
        let mut values = Vec::with_capacity(vectors.values.len());
        for vector in vectors.values.chunks(vectors.dimensions as usize) {
            let kept = &vector[..self.dimensions as usize];
            let length = kept.iter().map(|value| value * value).sum::<f32>().sqrt();
            values.extend(kept.iter().map(|value| if length > 0.0 { value / length } else { 0.0 }));
        }
        Ok(VectorsVerdict::Replace(Vectors { dimensions: self.dimensions, values }))
    }
}

impl NormalizeText {
    fn clean(&self, text: &str) -> String {
        let is_seen =
            |c: &char| c.is_whitespace() || !(c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{feff}'));
        let seen: String = text.chars().filter(is_seen).collect();
        let words = seen.split_whitespace().collect::<Vec<_>>().join(" ");
        let words = if self.lowercase { words.to_lowercase() } else { words };
        format!("{}{words}", self.prefix)
    }
}

firebox_sdk::plugin!(NormalizeText: embedding);

#[cfg(test)]
mod tests {
    use super::*;

    fn before(config: &str, texts: &[&str]) -> EmbeddingVerdict {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        let request = EmbeddingRequest { id: String::new(), model: String::new(), texts };
        NormalizeText::init(config).unwrap().before(request).unwrap()
    }

    fn replaced(texts: &[&str]) -> EmbeddingVerdict {
        EmbeddingVerdict::Replace(texts.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn texts_are_cleaned() {
        assert_eq!(before("{}", &["clean", "Über uns"]), EmbeddingVerdict::Unchanged);
        assert_eq!(before("{}", &[" a \n\t b\u{200b}c\u{0} ", "x"]), replaced(&["a bc", "x"]));
        let config = r#"{"lowercase": true, "prefix": "query: "}"#;
        assert_eq!(before(config, &["ÜBER  uns"]), replaced(&["query: über uns"]));
    }

    #[test]
    fn a_text_without_content_is_refused() {
        for config in ["{}", r#"{"prefix": "query: "}"#] {
            let EmbeddingVerdict::Refuse(reason) = before(config, &["a", " \n "]) else { panic!("{config}") };
            assert!(reason.starts_with("text 1 "), "{reason}");
        }
    }

    #[test]
    fn vectors_are_shortened_to_length_one() {
        let mut plugin = NormalizeText::init(r#"{"dimensions": 2}"#).unwrap();
        let vectors = Vectors { dimensions: 3, values: vec![3.0, 4.0, 9.0, 0.0, 0.0, 1.0] };
        let shorter = Vectors { dimensions: 2, values: vec![0.6, 0.8, 0.0, 0.0] };
        assert_eq!(plugin.after(vectors), Ok(VectorsVerdict::Replace(shorter)));
        let short = Vectors { dimensions: 2, values: vec![3.0, 4.0] };
        assert_eq!(plugin.after(short), Ok(VectorsVerdict::Unchanged));
    }

    #[test]
    fn a_wrong_configuration_is_named() {
        for (config, expected) in [
            (r#"{"dimensions": -1}"#, "\"dimensions\" must be a whole number"),
            (r#"{"lowercase": "yes"}"#, "\"lowercase\" must be true or false"),
            (r#"{"size": 1}"#, "unknown configuration key \"size\""),
        ] {
            let error = NormalizeText::init(config).err().unwrap();
            assert!(error.contains(expected), "{error}");
        }
    }
}
