//! A model of one's own with everything else around it: the README shows this file's example.

// README example begins
use std::sync::Arc;

use firebox::Host;
use firebox::contract::{
    Chat, Error, LanguageModel, Logits, ModelInfo, SamplingOverrides, SequenceId, Span, TextCodec, TextDecoder, TokenId,
};

/// Says "burn" for ever: the place for a model of your own.
struct Own(ModelInfo);

impl LanguageModel for Own {
    fn info(&self) -> &ModelInfo {
        &self.0
    }
    fn forward(&mut self, batch: &[Span<'_>]) -> Result<Vec<Option<Logits>>, Error> {
        let next = |last: u32| "burn ".bytes().cycle().skip_while(|b| u32::from(*b) != last).nth(1).unwrap_or(b'b');
        let row = |span: &Span<'_>| {
            let mut logits = vec![0.0; 256];
            logits[usize::from(next(span.tokens.last().copied().unwrap_or(32)))] = 1.0;
            Some(logits)
        };
        Ok(batch.iter().map(row).collect())
    }
    fn release(&mut self, _: SequenceId) {}
}

struct Bytes(SamplingOverrides);

impl TextCodec for Bytes {
    fn encode_chat(&self, chat: Chat<'_>) -> Result<Vec<TokenId>, Error> {
        self.encode_text(&chat.messages.iter().map(|message| message.content.as_str()).collect::<String>())
    }
    fn encode_text(&self, text: &str) -> Result<Vec<TokenId>, Error> {
        Ok(text.bytes().chain([b' ']).map(TokenId::from).collect())
    }
    fn decoder(&self) -> Box<dyn TextDecoder> {
        Box::new(Ascii)
    }
    fn is_end(&self, _: TokenId) -> bool {
        false
    }
    fn defaults(&self) -> &SamplingOverrides {
        &self.0
    }
    fn chat_template(&self) -> Option<&str> {
        None
    }
}

struct Ascii;

impl TextDecoder for Ascii {
    fn push(&mut self, token: TokenId) -> Result<String, Error> {
        Ok(char::from(token as u8).to_string())
    }
    fn finish(&mut self) -> Result<String, Error> {
        Ok(String::new())
    }
}

async fn host(info: ModelInfo) -> Result<Host, Error> {
    let codec = Arc::new(Bytes(SamplingOverrides { temperature: Some(0.0), ..Default::default() }));
    Host::builder().model(codec, move || Ok(Box::new(Own(info)))).build().await
}
// README example ends

#[tokio::test]
async fn a_model_of_ones_own_runs_on_the_same_road() {
    use firebox::contract::{Caller, Event, GenerationRequest, Message, Prompt, Role};
    let info = ModelInfo {
        name: "own".to_owned(),
        architecture: "Own".to_owned(),
        parameters: 0,
        context_tokens: 64,
        vocabulary: 256,
        device: "none".to_owned(),
        dtype: "f32",
        weights_bytes: 0,
    };
    let host = host(info).await.expect("builds");
    let request = GenerationRequest {
        prompt: Prompt::Chat(vec![Message::text(Role::User, "hi")]),
        sampling: SamplingOverrides { max_tokens: Some(9), ..Default::default() },
        tool_rounds: 0,
    };
    let mut generation = host.generate(&Caller::local(), request).await.expect("admitted");
    let mut text = String::new();
    while let Some(event) = generation.next().await.expect("answers") {
        if let Event::Text(piece) = event {
            text.push_str(&piece);
        }
    }
    assert_eq!(text, "burn burn");
}
