//! Connects the exported functions with a plugin's traits. Not part of the public interface.

use std::cell::RefCell;
use std::sync::Once;

use crate::bindings::base::exports::firebox::plugin::lifecycle;
use crate::bindings::{embedding, prompt, text, token, tool, tool_call};
use crate::{Embedding, Outcome, Plugin, Prompt, Text, Token, TokenSession, Tool, ToolGuard, log};

/// The storage of the one instance. A component has one thread, so a thread-local is a static.
pub type Slot<T> = RefCell<Option<T>>;

/// Implemented by [`plugin!`](crate::plugin). The exported functions are implemented for every type with this trait.
pub trait Host: 'static {
    /// The plugin's type.
    type Plugin: Plugin;
    /// The calling package's name.
    const NAME: &'static str;
    /// The calling package's version.
    const VERSION: &'static str;

    /// Calls `f` with the slot of the instance.
    fn with_slot<R>(f: impl FnOnce(&mut Option<Self::Plugin>) -> R) -> R;
}

/// Installs a hook that logs panics. Without it a panic is a trap without a message, because the target has no standard error.
fn report_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| std::panic::set_hook(Box::new(|panic| log::error(panic.to_string()))));
}

/// Runs `f` on the instance. If the host calls a stage without `init`, an instance with an empty configuration is created.
fn with_instance<H: Host, R>(f: impl FnOnce(&mut H::Plugin) -> R) -> Result<R, String> {
    report_panics();
    H::with_slot(|slot| {
        let plugin = match slot {
            Some(plugin) => plugin,
            None => slot.insert(H::Plugin::init("{}")?),
        };
        Ok(f(plugin))
    })
}

impl<H: Host> lifecycle::Guest for H {
    fn describe() -> lifecycle::Info {
        lifecycle::Info {
            name: H::NAME.to_owned(),
            version: H::VERSION.to_owned(),
            description: H::Plugin::DESCRIPTION.to_owned(),
        }
    }

    fn init(config_json: String) -> Result<(), String> {
        report_panics();
        let plugin = H::Plugin::init(&config_json)?;
        H::with_slot(|slot| *slot = Some(plugin));
        Ok(())
    }
}

impl<H: Host<Plugin: Prompt>> prompt::stage::Guest for H {
    fn process(request: crate::PromptRequest) -> Result<crate::PromptVerdict, String> {
        with_instance::<H, _>(|plugin| plugin.process(request))?
    }
}

/// The session of one sequence, behind its handle.
pub struct SessionSlot<H: Host<Plugin: Token>>(RefCell<<H::Plugin as Token>::Session>);

impl<H: Host<Plugin: Token>> token::exports::firebox::plugin::token::Guest for H {
    type Session = SessionSlot<H>;
}

impl<H: Host<Plugin: Token>> token::exports::firebox::plugin::token::GuestSession for SessionSlot<H> {
    fn start(sequence: crate::TokenSequence) -> Result<token::exports::firebox::plugin::token::Session, String> {
        let session = with_instance::<H, _>(|plugin| plugin.start(sequence))??;
        Ok(token::exports::firebox::plugin::token::Session::new(Self(RefCell::new(session))))
    }

    fn needs(&self) -> crate::TokenNeeds {
        self.0.borrow().needs()
    }

    fn next(&self, step: crate::TokenStep) -> Result<crate::TokenAction, String> {
        self.0.borrow_mut().next(step)
    }
}

impl<H: Host<Plugin: ToolGuard>> tool_call::exports::firebox::plugin::tool_call::Guest for H {
    fn before(call: crate::ToolCall) -> Result<crate::CallVerdict, String> {
        with_instance::<H, _>(|plugin| plugin.before(call))?
    }

    fn after(call: crate::ToolCall, outcome: crate::SeenOutcome) -> Result<crate::OutcomeVerdict, String> {
        with_instance::<H, _>(|plugin| plugin.after(call, outcome))?
    }
}

impl<H: Host<Plugin: Embedding>> embedding::exports::firebox::plugin::embedding::Guest for H {
    fn before(request: crate::EmbeddingRequest) -> Result<crate::EmbeddingVerdict, String> {
        with_instance::<H, _>(|plugin| plugin.before(request))?
    }

    fn after(vectors: crate::Vectors) -> Result<crate::VectorsVerdict, String> {
        with_instance::<H, _>(|plugin| plugin.after(vectors))?
    }
}

impl<H: Host<Plugin: Text>> text::exports::firebox::plugin::text::Guest for H {
    fn push(chunk: String) -> Result<crate::TextVerdict, String> {
        with_instance::<H, _>(|plugin| plugin.push(chunk))?
    }

    fn finish() -> Result<String, String> {
        with_instance::<H, _>(Text::finish)?
    }
}

impl<H: Host<Plugin: Tool>> tool::exports::firebox::plugin::tool::Guest for H {
    fn definitions() -> Vec<crate::Definition> {
        with_instance::<H, _>(|plugin| plugin.definitions()).unwrap_or_else(|reason| {
            log::error(format!("offers no tools without a configuration: {reason}"));
            Vec::new()
        })
    }

    fn call(name: String, arguments_json: String) -> Outcome {
        with_instance::<H, _>(|plugin| plugin.call(&name, &arguments_json)).unwrap_or_else(Outcome::error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::text::exports::firebox::plugin::text::Guest as TextGuest;
    use crate::{TextVerdict, bindings};
    use lifecycle::Guest as _;

    struct Prefix(String);

    impl Plugin for Prefix {
        const DESCRIPTION: &'static str = "Puts its configuration before each chunk.";

        fn init(config_json: &str) -> Result<Self, String> {
            if config_json == "bad" { Err("no".to_owned()) } else { Ok(Self(config_json.to_owned())) }
        }
    }

    impl Text for Prefix {
        fn push(&mut self, chunk: String) -> Result<TextVerdict, String> {
            Ok(TextVerdict::Emit(format!("{}{chunk}", self.0)))
        }
    }

    struct Component;

    thread_local! {
        static INSTANCE: Slot<Prefix> = const { Slot::new(None) };
    }

    impl Host for Component {
        type Plugin = Prefix;
        const NAME: &'static str = "prefix";
        const VERSION: &'static str = "1.2.3";

        fn with_slot<R>(f: impl FnOnce(&mut Option<Prefix>) -> R) -> R {
            INSTANCE.with(|slot| f(&mut slot.borrow_mut()))
        }
    }

    #[test]
    fn describes_itself_with_the_package_and_the_description() {
        let info = Component::describe();
        assert_eq!((info.name.as_str(), info.version.as_str()), ("prefix", "1.2.3"));
        assert_eq!(info.description, Prefix::DESCRIPTION);
    }

    #[test]
    fn stage_without_init_gets_an_empty_configuration() {
        let verdict = <Component as TextGuest>::push("x".to_owned());
        assert_eq!(verdict, Ok(bindings::text::exports::firebox::plugin::text::Verdict::Emit("{}x".to_owned())));
    }

    #[test]
    fn init_replaces_the_instance_and_a_refused_one_keeps_it() {
        assert_eq!(Component::init("a".to_owned()), Ok(()));
        assert_eq!(Component::init("bad".to_owned()), Err("no".to_owned()));
        let verdict = <Component as TextGuest>::push("x".to_owned());
        assert_eq!(verdict, Ok(TextVerdict::Emit("ax".to_owned())));
    }

    #[test]
    fn finish_is_empty_unless_the_plugin_holds_text_back() {
        assert_eq!(<Component as TextGuest>::finish(), Ok(String::new()));
    }
}
