//! The library with a model that is not from a checkpoint. The README shows the example in this file.

// README example begins
use firebox::Host;
use firebox::contract::{Error, LanguageModel, Logits, ModelInfo, SequenceId, Span, TokenId};
use firebox::models::{Checkpoint, load_codec};

/// A model that repeats one word. Replace it with your own model.
struct Own {
    info: ModelInfo,
    word: Vec<TokenId>,
}

impl LanguageModel for Own {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn forward(&mut self, batch: &[Span<'_>]) -> Vec<Result<Option<Logits>, Error>> {
        let row = |span: &Span<'_>| {
            let seen = self.word.iter().position(|token| span.tokens.last() == Some(token));
            let next = self.word[seen.map_or(0, |at| (at + 1) % self.word.len())];
            let mut logits = vec![0.0; self.info.vocabulary];
            logits[next as usize] = 1.0;
            Ok(Some(logits))
        };
        batch.iter().map(row).collect()
    }

    fn release(&mut self, _: SequenceId) {}
}

async fn host(info: ModelInfo) -> Result<Host, Error> {
    // Tokenizer and chat template of any Hugging Face folder; here those of the built-in model.
    let codec = load_codec(&Checkpoint::embedded(firebox::ember::FILES)?)?;
    let word = codec.encode_text("burn ")?;
    let own = move || Ok(Box::new(Own { info: info.clone(), word: word.clone() }) as Box<dyn LanguageModel>);
    Host::builder().model(codec, own).build().await
}
// README example ends

#[tokio::test]
async fn a_custom_model_runs_with_plugins_and_limits() {
    use firebox::contract::{Caller, Event, GenerationRequest, Message, Prompt, Role, SamplingOverrides};
    let host = host(info()).await.expect("builds");
    let request = GenerationRequest {
        sampling: SamplingOverrides { max_tokens: Some(9), temperature: Some(0.0), ..Default::default() },
        ..GenerationRequest::new(Prompt::Chat(vec![Message::text(Role::User, "hi")]))
    };
    let mut generation = host.engine().generate(&Caller::local(), request).await.expect("admitted");
    let mut text = String::new();
    while let Some(event) = generation.next().await.expect("answers") {
        if let Event::Text(piece) = event {
            text.push_str(&piece);
        }
    }
    assert_eq!(text, "burn burn");
}

fn info() -> ModelInfo {
    ModelInfo {
        name: "own".to_owned(),
        architecture: "Own".to_owned(),
        parameters: 0,
        context_tokens: 256,
        vocabulary: 512,
        device: "none".to_owned(),
        dtype: "f32",
        weights_bytes: 0,
    }
}

/// Counts its forward passes.
struct Counting(Own, std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl LanguageModel for Counting {
    fn info(&self) -> &ModelInfo {
        self.0.info()
    }

    fn forward(&mut self, batch: &[Span<'_>]) -> Vec<Result<Option<Logits>, Error>> {
        self.1.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        self.0.forward(batch)
    }

    fn release(&mut self, _: SequenceId) {}
}

#[tokio::test]
async fn a_host_with_warm_up_runs_its_model_before_the_first_request() {
    for (warm_up, expected) in [(true, 4), (false, 0)] {
        let passes = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
        let codec = load_codec(&Checkpoint::embedded(firebox::ember::FILES).expect("embedded")).expect("loads");
        let counted = std::sync::Arc::clone(&passes);
        let own = move || {
            let own = Own { info: info(), word: vec![1] };
            Ok(Box::new(Counting(own, counted.clone())) as Box<dyn LanguageModel>)
        };
        let _host = Host::builder().model(codec, own).warm_up(warm_up).build().await.expect("builds");
        assert_eq!(passes.load(std::sync::atomic::Ordering::SeqCst), expected);
    }
}
