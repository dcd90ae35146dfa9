//! The message of a caught panic.

use std::any::Any;

/// The message of a panic that `catch_unwind` or a thread's `join` returned.
#[must_use]
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_a_panic_is_found_in_both_forms() {
        let caught = |panic: Box<dyn Any + Send>| panic_text(&*panic).to_owned();
        assert_eq!(caught(Box::new("a literal")), "a literal");
        assert_eq!(caught(Box::new(format!("number {}", 7))), "number 7");
        assert_eq!(caught(Box::new(7)), "it panicked without a message");
    }
}
