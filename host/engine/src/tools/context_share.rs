//! The part of the context that the tools of a request take, for the error of a prompt that does not fit.

use std::collections::{BTreeMap, HashMap};

use firebox_contract::{Error, TextCodec, ToolDefinition, limits};

/// The tools of one provider: their number, and roughly the tokens of their descriptions and schemas.
struct ProviderTools {
    tools: usize,
    tokens: usize,
}

/// A clause that names the providers of the tools with their tokens, the largest first, if all tools together take a
/// quarter of the context or more. `providers` maps a tool of the tool source to its provider.
pub(crate) fn explain(
    codec: &dyn TextCodec,
    tools: &[ToolDefinition],
    providers: &HashMap<String, String>,
    context: usize,
) -> Option<String> {
    let mut texts: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for tool in tools {
        let provider = providers.get(&tool.name).cloned().unwrap_or_else(|| "plugins and the request".to_owned());
        let (count, text) = texts.entry(provider).or_default();
        *count += 1;
        text.push_str(&written(tool));
    }
    let size = |(provider, (tools, text)): (String, (usize, String))| {
        let tokens = tokens_of(codec, &text).ok()?;
        Some((provider, ProviderTools { tools, tokens }))
    };
    let mut parts: Vec<(String, ProviderTools)> = texts.into_iter().filter_map(size).collect();
    let all: usize = parts.iter().map(|(_, part)| part.tokens).sum();
    if all == 0 || all < context / 4 {
        return None;
    }
    parts.sort_by_key(|(_, part)| std::cmp::Reverse(part.tokens));
    let named: Vec<String> = parts
        .iter()
        .map(|(provider, part)| format!("the {} tools of {provider} take about {}", part.tools, part.tokens))
        .collect();
    Some(format!("; of these {}; offer fewer tools (\"tools\" of an [[mcp.server]] says which)", named.join(", ")))
}

fn written(tool: &ToolDefinition) -> String {
    format!("{} {} {}\n", tool.name, tool.description, tool.input_schema_json)
}

/// Tokens of a text. The tokens of a long text are estimated from its beginning.
fn tokens_of(codec: &dyn TextCodec, text: &str) -> Result<usize, Error> {
    let end = text.floor_char_boundary(limits::TOOL_SIZE_SAMPLE_BYTES);
    let sample = text.get(..end).unwrap_or_default();
    let tokens = codec.encode_text(sample)?.len();
    Ok(tokens.saturating_mul(text.len()) / sample.len().max(1))
}

#[cfg(test)]
mod tests {
    use firebox_contract::{Chat, SamplingOverrides, TextDecoder, TokenId, ToolEffects};

    use super::*;

    /// A codec with one token per byte.
    struct BytePerToken;

    impl TextCodec for BytePerToken {
        fn encode_chat(&self, _: Chat<'_>) -> Result<Vec<TokenId>, Error> {
            Ok(Vec::new())
        }

        fn encode_text(&self, text: &str) -> Result<Vec<TokenId>, Error> {
            assert!(text.len() <= limits::TOOL_SIZE_SAMPLE_BYTES, "the work is bounded");
            Ok(text.bytes().map(u32::from).collect())
        }

        fn decoder(&self, _: &[TokenId]) -> Box<dyn TextDecoder> {
            unreachable!("nothing is decoded")
        }

        fn is_end(&self, _: TokenId) -> bool {
            false
        }

        fn defaults(&self) -> &SamplingOverrides {
            unreachable!("nothing is sampled")
        }

        fn chat_template(&self) -> Option<&str> {
            None
        }
    }

    fn tool(name: &str, bytes: usize) -> ToolDefinition {
        ToolDefinition {
            name: name.to_owned(),
            title: None,
            description: "d".repeat(bytes),
            input_schema_json: "{}".to_owned(),
            output_schema_json: None,
            as_sent_json: None,
            effects: ToolEffects::default(),
        }
    }

    #[test]
    fn providers_of_many_tools_are_named_with_their_tokens() {
        let tools: Vec<ToolDefinition> =
            (0..100).map(|n| tool(&format!("t{n}"), 1_000)).chain([tool("own", 9)]).collect();
        let providers = (0..100).map(|n| (format!("t{n}"), "mcp server \"big\"".to_owned())).collect();
        let text = explain(&BytePerToken, &tools, &providers, 1_024).expect("they take more than the context");
        assert!(text.contains("the 100 tools of mcp server \"big\" take about 100"), "{text}");
        assert!(text.contains("the 1 tools of plugins and the request take about 1"), "{text}");
        assert_eq!(
            explain(&BytePerToken, &tools, &providers, 1_000_000),
            None,
            "tools that take little are not mentioned"
        );
        assert_eq!(explain(&BytePerToken, &[], &providers, 1_024), None);
    }
}
