//! A prompt that ends inside its last message (`continue_final_message`), cut as transformers cuts it.

use serde_json::Value;

/// A tag after the last message's text while the template is rendered.
const TAG: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

/// Puts the tag after the text of the last message. Returns the text without the tag.
///
/// # Errors
/// The reason why the conversation cannot be continued, as a sentence.
pub(super) fn tag(messages: &mut [Value], template: &str) -> Result<String, String> {
    let Some(last) = messages.last_mut() else {
        return Err("the conversation is empty; there is no final message to continue".to_owned());
    };
    if !template.contains("content") {
        return Err("the chat template writes no content; its final message cannot be continued".to_owned());
    }
    let text = match last.get_mut("content") {
        Some(Value::Array(parts)) => parts.iter_mut().rev().find_map(|part| part.get_mut("text")),
        content => content,
    };
    match text {
        Some(Value::String(text)) => {
            let before = text.clone();
            text.push_str(TAG);
            Ok(before)
        }
        _ => Err("the final message has no content to continue".to_owned()),
    }
}

/// The rendered prompt, up to the tag.
///
/// # Errors
/// The template did not write the whole text of the final message.
pub(super) fn cut(mut rendered: String, text: &str) -> Result<String, String> {
    let end = rendered.rfind(TAG.trim_end()).filter(|_| rendered.contains(text.trim()));
    let Some(end) = end else {
        return Err("the chat template does not write the final message unchanged; it cannot be continued".to_owned());
    };
    let spaces_stay = rendered[end..].starts_with(TAG);
    rendered.truncate(end);
    if !spaces_stay {
        rendered.truncate(rendered.trim_end().len());
    }
    Ok(rendered)
}
