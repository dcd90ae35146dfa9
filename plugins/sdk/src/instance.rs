//! Connects the exported functions with a plugin's traits. Not part of the public interface.

use std::cell::RefCell;
use std::sync::Once;

use crate::bindings::base::exports::firebox::plugin::lifecycle;
use crate::bindings::{prompt, text, tool};
use crate::{Outcome, Plugin, Prompt, Text, Tool, log};

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

impl<H: Host<Plugin: Prompt>> prompt::exports::firebox::plugin::prompt::Guest for H {
    fn process(request: crate::PromptRequest) -> Result<crate::PromptVerdict, String> {
        with_instance::<H, _>(|plugin| plugin.process(request))?
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
