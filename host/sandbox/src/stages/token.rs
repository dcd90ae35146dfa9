//! The token stage: each plugin of the chain sees the tokens of an answer, and says which one may come next.

mod action;
mod v1;
pub(crate) mod vocabulary;

use std::sync::Arc;

use firebox_contract::limits::{STAGE_CANDIDATE_TOKENS_MAX, STAGE_HOLD_BACK_TOKENS_MAX, STAGE_TAKEN_BACK_TOKENS_MAX};
use firebox_contract::{
    BoxFuture, Error, RequestInfo, Stage, TokenAction, TokenHook, TokenId, TokenNeeds, TokenRule, TokenSequence,
    TokenSession, TokenStep,
};
use wasmtime::Store;
use wasmtime::component::ResourceAny;

use self::action::Combined;
use super::{GuestFuture, GuestReturn, StageVersion, stage_missing};
use crate::chain::BoundChain;
use crate::instance::guest::GuestData;
use crate::instance::{Attempt, Instance};

/// What a session is started with.
#[derive(Debug)]
pub(crate) struct SessionStart {
    pub(crate) info: RequestInfo,
    pub(crate) sequence: TokenSequence,
}

/// A session that has started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StartedSession {
    pub(crate) session: ResourceAny,
    pub(crate) needs: TokenNeeds,
}

/// The decision of one plugin, as it returned it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum GuestTokenAction {
    /// No change.
    Keep,
    /// Only the tokens of these bits.
    AllowMask(Vec<u32>),
    /// Only these tokens.
    Allow(Vec<TokenId>),
    /// These values are added to the logits of these tokens.
    Bias(Vec<TokenId>, Vec<f32>),
    /// These tokens come next.
    Force(Vec<TokenId>),
    /// So many tokens are taken back.
    Backtrack(usize),
    /// The answer ends.
    Stop,
}

// A mask or a list serves one token and is dropped then. `PLUGIN_TOKEN_BYTES_MAX` bounds it.
impl GuestReturn for GuestTokenAction {
    fn bytes(&self) -> usize {
        0
    }
}

impl GuestReturn for StartedSession {
    fn bytes(&self) -> usize {
        0
    }
}

/// The functions of the interface `token`, in any version.
pub(crate) trait TokenCalls: Send + Sync {
    /// Drops the session `ended`, and starts one.
    fn start<'a>(
        &'a self,
        store: &'a mut Store<GuestData>,
        start: Arc<SessionStart>,
        ended: Option<ResourceAny>,
    ) -> GuestFuture<'a, StartedSession>;
    /// Decides about the next token.
    fn next<'a>(
        &'a self,
        store: &'a mut Store<GuestData>,
        session: ResourceAny,
        step: TokenStep,
    ) -> GuestFuture<'a, GuestTokenAction>;
}

/// The supported versions, newest first.
pub(crate) const VERSIONS: &[StageVersion<dyn TokenCalls>] =
    &[StageVersion { interface: v1::INTERFACE, find: v1::find }];

impl TokenHook for BoundChain {
    fn start_tokens<'a>(
        &'a mut self,
        sequence: &'a (dyn Fn() -> TokenSequence + Sync),
    ) -> BoxFuture<'a, Result<Option<Box<dyn TokenSession>>, Error>> {
        Box::pin(async move {
            if !self.instances.iter().any(|instance| instance.has(Stage::Token)) {
                return Ok(None);
            }
            let start = Arc::new(SessionStart { info: self.request.clone(), sequence: sequence() });
            let mut members = Vec::new();
            for (index, instance) in self.instances.iter().enumerate().filter(|(_, each)| each.has(Stage::Token)) {
                let ended = self.sessions.iter().position(|(of, _)| *of == index);
                let ended = ended.map(|at| self.sessions.swap_remove(at).1);
                if let Some(member) = Member::start(instance, Arc::clone(&start), ended).await? {
                    self.sessions.push((index, member.session));
                    members.push(member);
                }
            }
            let chain = ChainTokens { vocabulary: start.sequence.vocabulary, members };
            Ok((!chain.members.is_empty()).then(|| Box::new(chain) as Box<dyn TokenSession>))
        })
    }
}

/// The sessions of a chain for one sequence.
struct ChainTokens {
    vocabulary: usize,
    members: Vec<Member>,
}

/// The session of one plugin.
struct Member {
    instance: Arc<Instance>,
    session: ResourceAny,
    needs: TokenNeeds,
    /// What the plugin has not seen yet. A plugin before it may have decided alone.
    taken_back: usize,
    accepted: Vec<TokenId>,
    /// Tokens that the plugin has had taken back.
    taken_back_total: usize,
}

impl Member {
    /// Starts a session in `instance`. `None` if that failed and faults of the plugin are skipped.
    async fn start(
        instance: &Arc<Instance>,
        start: Arc<SessionStart>,
        ended: Option<ResourceAny>,
    ) -> Result<Option<Self>, Error> {
        let started = instance.attempt(Stage::Token, move |calls, store| match &calls.token {
            Some(token) => token.start(store, start, ended),
            None => stage_missing(),
        });
        let Ok((StartedSession { session, needs }, usage)) = started.await? else { return Ok(None) };
        let too_much = [
            ("candidates", needs.candidates, STAGE_CANDIDATE_TOKENS_MAX),
            ("held-back tokens", needs.hold_back, STAGE_HOLD_BACK_TOKENS_MAX),
        ];
        if let Some((what, asked, most)) = too_much.into_iter().find(|(_, asked, most)| asked > most) {
            let reason = format!("its session needs {asked} {what}; at most {most} are allowed");
            instance.reject(Stage::Token, reason, usage)?;
            return Ok(None);
        }
        let instance = Arc::clone(instance);
        Ok(Some(Self { instance, session, needs, taken_back: 0, accepted: Vec::new(), taken_back_total: 0 }))
    }

    /// Adds what happened since the last step.
    fn note(&mut self, step: &TokenStep) {
        let unseen = step.taken_back.min(self.accepted.len());
        self.accepted.truncate(self.accepted.len() - unseen);
        self.taken_back += step.taken_back - unseen;
        self.accepted.extend(&step.accepted);
    }

    /// What the plugin is asked at `step`.
    fn input(&mut self, step: &TokenStep) -> TokenStep {
        TokenStep {
            taken_back: std::mem::take(&mut self.taken_back),
            accepted: std::mem::take(&mut self.accepted),
            held: step.held.min(self.needs.hold_back),
            candidates: step.candidates.iter().take(self.needs.candidates).copied().collect(),
        }
    }

    /// What the plugin has decided with `held` tokens held back. Without a usable answer of a plugin whose faults are skipped,
    /// nothing changes.
    fn decided(
        &mut self,
        answered: Attempt<GuestTokenAction>,
        vocabulary: usize,
        held: usize,
    ) -> Result<Option<TokenAction>, Error> {
        let Ok((action, usage)) = answered else { return Ok(None) };
        match action::check(action, vocabulary, held).and_then(|action| self.count(action)) {
            Ok(action) => Ok(action),
            Err(reason) => {
                self.instance.reject(Stage::Token, reason, usage)?;
                Ok(None)
            }
        }
    }
}

impl Member {
    /// Counts what `action` takes back.
    ///
    /// # Errors
    /// The plugin takes back too much.
    fn count(&mut self, action: Option<TokenAction>) -> Result<Option<TokenAction>, String> {
        if let Some(TokenAction::Backtrack(count)) = action {
            self.taken_back_total += count;
            if self.taken_back_total > STAGE_TAKEN_BACK_TOKENS_MAX {
                return Err(format!("it took back more than {STAGE_TAKEN_BACK_TOKENS_MAX} tokens of one answer"));
            }
        }
        Ok(action)
    }
}

impl TokenSession for ChainTokens {
    fn needs(&self) -> TokenNeeds {
        let most = |of: fn(&TokenNeeds) -> usize| self.members.iter().map(|member| of(&member.needs)).max();
        TokenNeeds {
            candidates: most(|needs| needs.candidates).unwrap_or_default(),
            hold_back: most(|needs| needs.hold_back).unwrap_or_default(),
        }
    }

    /// Asks each plugin in turn. Their rules are combined. The first plugin that forces tokens, takes some back or ends the
    /// answer decides alone; the plugins after it see at their next step what came of it.
    fn next(&mut self, step: TokenStep) -> BoxFuture<'_, Result<TokenAction, Error>> {
        Box::pin(async move {
            self.members.iter_mut().for_each(|member| member.note(&step));
            let mut combined = Combined::default();
            for member in &mut self.members {
                let input = member.input(&step);
                let (session, held) = (member.session, input.held);
                // Awaited here and not in a function of its own, whose future would be moved into this one at each token.
                let answered = member.instance.attempt(Stage::Token, move |calls, store| match &calls.token {
                    Some(token) => token.next(store, session, input),
                    None => stage_missing(),
                });
                let answered = answered.await?;
                match member.decided(answered, self.vocabulary, held)? {
                    None => {}
                    Some(TokenAction::Choose(rule)) => {
                        if let Err(reason) = combined.add(rule) {
                            member.instance.reject(Stage::Token, reason, Default::default())?;
                        }
                    }
                    Some(decided) => return Ok(decided),
                }
            }
            Ok(TokenAction::Choose(TokenRule::from(combined)))
        })
    }
}
