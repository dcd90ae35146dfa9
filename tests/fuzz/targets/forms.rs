//! Forms of answers: JSON Schemas, regular expressions and Lark grammars of requests.

use firebox::contract::{Error, Grammar, GrammarCompiler as _, TenantId, TokenId};
use firebox::models::{Checkpoint, load_codec};
use firebox_grammar::Compiler;

use super::super::Target;

/// Tokens of an answer that are followed.
const STEPS: usize = 24;

/// Compiles `grammar` and follows the first token that it allows, again and again. An error blames the grammar and not this
/// program.
fn follow(compiler: &Compiler, grammar: &Grammar) {
    let blames_it = |error: &Error| matches!(error, Error::Schema { .. } | Error::Usage(_));
    let mut state = match compiler.compile(&TenantId::new("t"), grammar) {
        Ok(state) => state,
        Err(error) => return assert!(blames_it(&error), "{grammar:?}: {error:?}"),
    };
    for _ in 0..STEPS {
        let mask = match state.mask() {
            Ok(mask) => mask,
            Err(error) => return assert!(blames_it(&error), "{grammar:?}: {error:?}"),
        };
        let Some(token) = (0..307).find(|token: &TokenId| mask.contains(*token)) else {
            return assert!(matches!(state.may_end(), Ok(true)), "{grammar:?}: nothing follows, and it may not end");
        };
        assert!(matches!(state.accept(token), Ok(true)), "{grammar:?}: {token} is in the mask and not accepted");
    }
}

fn compiler() -> Compiler {
    Compiler::new(load_codec(&Checkpoint::embedded(firebox::ember::FILES).expect("embedded")).expect("loads"))
}

#[test]
fn json_schemas() {
    let compiler = compiler();
    let seeds = [
        r##"{"type":"object","properties":{"a":{"type":"string","maxLength":5},"b":{"$ref":"#/$defs/c"}},"required":["a"],"additionalProperties":false,"$defs":{"c":{"type":"array","items":{"type":"integer","minimum":1,"maximum":99},"minItems":1,"maxItems":3}}}"##,
        r#"{"anyOf":[{"type":"null"},{"enum":["x","y"]},{"type":"string","pattern":"^[a-z]{2,4}$"},{"format":"date","type":"string"}]}"#,
        r#"{"$schema":"http://json-schema.org/draft-07/schema#","type":"array","items":[{"const":1}],"additionalItems":{"multipleOf":3}}"#,
    ];
    let target = Target {
        name: "json-schema",
        words: &[
            "\"type\":",
            "\"$ref\":\"#\"",
            "\"allOf\":[",
            "\"anyOf\":[",
            "\"oneOf\":[",
            "\"not\":",
            "\"pattern\":\"",
            "\"patternProperties\":",
            "\"minItems\":",
            "\"maxLength\":",
            "4000000000",
            "1e300",
            "\"const\":",
            "\"enum\":[",
            "\"prefixItems\":[",
            "(a|aa)+",
            "{1000}",
            "\\\\p{L}",
            "\"$defs\":",
            "{",
            "}",
            "[",
            "]",
            ",",
            "true",
            "false",
        ],
        seeds: seeds.map(|seed| seed.as_bytes().to_vec()).to_vec(),
    };
    target.run(|input| {
        if let Ok(text) = std::str::from_utf8(input) {
            follow(&compiler, &Grammar::JsonSchema(text.to_owned()));
        }
    });
}

#[test]
fn regular_expressions_and_lark_grammars() {
    let compiler = compiler();
    let target = Target {
        name: "grammar",
        words: &[
            "start: ", "\n", "NAME: /", "\"", "|", "(", ")", "*", "+", "{2,1000}", "[^a-z]", "\\d", "\\p{L}",
            "%json {", "%ignore", "<[1]>", "?:",
        ],
        seeds: [&b"R(ab|cd){2,5}[^x]?!"[..], b"Lstart: \"(\" NUMBER (\",\" NUMBER)* \")\"\nNUMBER: /[1-9][0-9]?/\n"]
            .map(<[u8]>::to_vec)
            .to_vec(),
    };
    target.run(|input| {
        if let Some((kind, text)) = input.split_first()
            && let Ok(text) = std::str::from_utf8(text)
        {
            let text = text.to_owned();
            follow(&compiler, &if *kind == b'L' { Grammar::Lark(text) } else { Grammar::Regex(text) });
        }
    });
}
