//! The actions of the token stage, each a word and numbers such as `force 1 2`.

use std::collections::VecDeque;

use firebox_sdk::{Arguments, TokenAction, TokenNeeds, TokenSequence, TokenSession, TokenStep, Weighted, log};

/// The session: the actions that are left.
pub(crate) struct Session {
    needs: TokenNeeds,
    actions: VecDeque<String>,
    /// The last action is repeated for ever.
    repeats: bool,
}

impl Session {
    pub(crate) fn new(config: &Arguments, sequence: TokenSequence) -> Result<Self, String> {
        let number = |key: &str| match config.get(key) {
            Some(number) => number.parse().map_err(|_| format!("\"{key}\" must be a number")),
            None => Ok(0),
        };
        let needs = TokenNeeds { candidates: number("candidates")?, hold_back: number("hold")? };
        log::info(format!(
            "start {} of {} tokens, ends {:?}, after {} tokens",
            sequence.model,
            sequence.vocabulary,
            sequence.ends,
            sequence.prompt.len()
        ));
        let actions = config.texts("tokens")?.unwrap_or_default().into();
        Ok(Self { needs, actions, repeats: config.flag("repeat", false)? })
    }
}

impl TokenSession for Session {
    fn needs(&self) -> TokenNeeds {
        self.needs
    }

    fn next(&mut self, step: TokenStep) -> Result<TokenAction, String> {
        log::info(format!(
            "next -{} {:?} held {} candidates {:?}",
            step.taken_back, step.accepted, step.held, step.candidates.tokens
        ));
        let action = match self.repeats && self.actions.len() == 1 {
            true => self.actions.front().cloned(),
            false => self.actions.pop_front(),
        };
        let Some(action) = action else { return Ok(TokenAction::Keep) };
        let (word, rest) = action.split_once(' ').unwrap_or((&action, ""));
        let numbers: Vec<u32> = rest.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        Ok(match word {
            "mask" => TokenAction::AllowMask(numbers),
            "allow" => TokenAction::Allow(numbers),
            "ban" => {
                let values = vec![f32::NEG_INFINITY; numbers.len()];
                TokenAction::Bias(Weighted { tokens: numbers, values })
            }
            "prefer" => {
                let values = vec![1e4; numbers.len()];
                TokenAction::Bias(Weighted { tokens: numbers, values })
            }
            "nan" => TokenAction::Bias(Weighted { tokens: numbers, values: vec![f32::NAN] }),
            "force" => TokenAction::Force(numbers),
            "back" => TokenAction::Backtrack(numbers.first().copied().unwrap_or_default()),
            "stop" => TokenAction::Stop,
            "second" => TokenAction::Allow(step.candidates.tokens.into_iter().skip(1).take(1).collect()),
            "fail" => return Err(rest.to_owned()),
            "spin" => loop {
                std::hint::black_box(&numbers);
            },
            "trap" => panic!("as the configuration says"),
            _ => TokenAction::Keep,
        })
    }
}
