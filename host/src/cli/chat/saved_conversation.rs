//! The conversation as it is kept: which session, what is in it, and what happens when it cannot be stored.

use std::fs::OpenOptions;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use firebox_contract::{Caller, Message, Role, TenantId, limits};

use crate::error::CliError;
use crate::sessions::{
    NewSession, Page, SYSTEM_SEQ, Session, SessionError, SessionLimits, SessionStore, StoredMessage,
};

/// Characters of an id's end that may stand for it; what is shorter is a place in the list.
const ID_END_MIN: usize = 4;

/// How a turn was kept.
pub(super) enum SaveOutcome {
    /// Where it belongs.
    Stored,
    /// The session was continued elsewhere meanwhile: this conversation goes on in a fork of it.
    Forked,
    /// Nowhere but in memory, because of this.
    InMemory(SessionError),
}

/// One conversation and the store it is kept in.
pub(super) struct SavedConversation {
    store: SessionStore,
    tenant: TenantId,
    model: String,
    /// `None` until something is said: an empty conversation leaves no session behind.
    session: Option<Session>,
    /// The system message of a conversation in which nothing was said yet.
    system: Option<String>,
    lasts: bool,
}

impl SavedConversation {
    /// A conversation in the store at `path`, or in memory.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, SessionError> {
        Self::within(path, SessionLimits::default())
    }

    fn within(path: Option<&Path>, limits: SessionLimits) -> Result<Self, SessionError> {
        let limits = SessionLimits { sessions_max: limits::CHAT_SESSIONS_MAX, idle: None, ..limits };
        // The person at this machine shares the file with nobody.
        let limits = SessionLimits { tenant_bytes_max: limits.file_bytes_max, ..limits };
        let store = SessionStore::open(path.unwrap_or(Path::new(":memory:")), limits)?;
        let tenant = Caller::local().tenant;
        Ok(Self { store, tenant, model: String::new(), session: None, system: None, lasts: path.is_some() })
    }

    /// The model that conversations begun from now on are held with.
    pub(super) fn set_model(&mut self, model: &str) {
        model.clone_into(&mut self.model);
    }

    /// The session, once there is one.
    pub(super) fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Where the conversation outlives the process, if it does.
    pub(super) fn path(&self) -> Option<&Path> {
        self.lasts.then(|| self.store.path())
    }

    /// Everything said so far, the system message first.
    pub(super) fn messages(&self) -> Result<Vec<StoredMessage>, SessionError> {
        if let Some(session) = &self.session {
            return self.store.messages(&self.tenant, &session.id);
        }
        let stored = |system: &String| StoredMessage {
            seq: SYSTEM_SEQ,
            message: Message::text(Role::System, system.as_str()),
            pinned: true,
            created: SystemTime::now(),
        };
        Ok(self.system.iter().map(stored).collect())
    }

    /// Keeps one turn after the first `at` messages, in place of what came after them. `before` is what the model
    /// was shown this turn after, for the case that the store is lost.
    pub(super) fn keep(
        &mut self,
        at: u64,
        before: &[StoredMessage],
        turn: &[Message],
    ) -> Result<SaveOutcome, SessionError> {
        match self.try_keep(at, turn) {
            Ok(()) => Ok(SaveOutcome::Stored),
            Err(SessionError::Conflict { .. }) => {
                self.fork(Some(at))?;
                self.try_keep(at, turn)?;
                Ok(SaveOutcome::Forked)
            }
            Err(error @ (SessionError::TooLarge(_) | SessionError::TooMany { .. })) => Err(error),
            Err(error) => {
                self.move_to_memory(before, turn)?;
                Ok(SaveOutcome::InMemory(error))
            }
        }
    }

    fn try_keep(&mut self, at: u64, turn: &[Message]) -> Result<(), SessionError> {
        let session = match &self.session {
            Some(session) => session.clone(),
            None => self.store.create(&self.tenant, self.new_session(turn))?,
        };
        let id = session.id.clone();
        if at < session.length && self.store.get(&self.tenant, &id)?.length == session.length {
            self.store.truncate(&self.tenant, &id, at)?;
        }
        let appended = self.store.append(&self.tenant, &id, Some(at), turn);
        if appended.is_err() && self.session.is_none() {
            // Nothing was said in it; that it may not be removed either does not change what is told.
            let _unremoved = self.store.delete(&self.tenant, &id);
        }
        appended?;
        self.session = Some(self.store.get(&self.tenant, &id)?);
        Ok(())
    }

    fn new_session(&self, turn: &[Message]) -> NewSession {
        let title = turn.first().map(|message| title_of(&message.content));
        NewSession { title, model: self.model.clone(), system: self.system.clone() }
    }

    fn move_to_memory(&mut self, before: &[StoredMessage], turn: &[Message]) -> Result<(), SessionError> {
        let mut memory = Self::open(None)?;
        let next = before.last().map_or(SYSTEM_SEQ, |stored| stored.seq) + 1;
        let now = SystemTime::now();
        let said = turn.iter().zip(next..).map(|(message, seq)| StoredMessage {
            seq,
            message: message.clone(),
            pinned: false,
            created: now,
        });
        let messages: Vec<StoredMessage> = before.iter().cloned().chain(said).collect();
        let new = NewSession { system: None, ..self.new_session(turn) };
        memory.session = Some(memory.store.create_with(&memory.tenant, &new, &messages)?);
        memory.model.clone_from(&self.model);
        *self = memory;
        Ok(())
    }

    /// Begins another conversation; the system message stays.
    pub(super) fn clear(&mut self) -> Result<(), SessionError> {
        self.system = self.system_message()?;
        self.session = None;
        Ok(())
    }

    /// The system message.
    pub(super) fn system_message(&self) -> Result<Option<String>, SessionError> {
        let first = self.messages()?.into_iter().next();
        Ok(first.filter(|stored| stored.seq == SYSTEM_SEQ).map(|stored| stored.message.content))
    }

    /// Sets or removes the system message.
    pub(super) fn set_system(&mut self, system: Option<&str>) -> Result<(), SessionError> {
        match &self.session {
            Some(session) => self.store.set_system(&self.tenant, &session.id, system)?,
            None => self.system = system.map(str::to_owned),
        }
        self.refresh()
    }

    /// Goes on with another session, named by its number in [`SavedConversation::recent`], its id or the end of it, or `last`.
    pub(super) fn resume(&mut self, name: &str) -> Result<(), CliError> {
        self.session = Some(self.find(name)?);
        self.system = None;
        Ok(())
    }

    /// The session that a person means by `name`.
    pub(super) fn find(&self, name: &str) -> Result<Session, CliError> {
        let unknown = || {
            CliError::usage(format!("there is no session \"{name}\"; /sessions, or chat --list, shows which there are"))
        };
        if name == "last" {
            return self.store.latest(&self.tenant)?.ok_or_else(unknown);
        }
        if let Some(place) = name.parse::<usize>().ok().filter(|_| name.len() < ID_END_MIN) {
            let listed = self.recent(limits::SESSIONS_PAGE_MAX)?;
            return place.checked_sub(1).and_then(|place| listed.into_iter().nth(place)).ok_or_else(unknown);
        }
        if name.len() < ID_END_MIN {
            return Err(unknown());
        }
        let asked = name.to_uppercase();
        match self.store.get(&self.tenant, &asked) {
            Err(SessionError::NotFound(_)) => {}
            found => return Ok(found?),
        }
        let mut page = Page::default();
        let mut found: Vec<Session> = Vec::new();
        loop {
            let listed = self.store.list(&self.tenant, &page)?;
            found.extend(listed.sessions.into_iter().filter(|session| session.id.ends_with(&asked)));
            page.after = listed.next;
            if found.len() > 1 {
                return Err(CliError::usage(format!("\"{name}\" ends more than one session's id; give more of it")));
            }
            if page.after.is_none() {
                return found.pop().ok_or_else(unknown);
            }
        }
    }

    /// The newest sessions.
    pub(super) fn recent(&self, limit: usize) -> Result<Vec<Session>, SessionError> {
        Ok(self.store.list(&self.tenant, &Page { limit, after: None })?.sessions)
    }

    /// Goes on in a copy of the first `at` messages, or of all; the session itself stays as it is.
    pub(super) fn fork(&mut self, at: Option<u64>) -> Result<(), SessionError> {
        let session = self.begun()?;
        self.session = Some(self.store.fork(&self.tenant, &session.id, at)?);
        Ok(())
    }

    /// Removes everything after the first `length` messages.
    pub(super) fn truncate(&mut self, length: u64) -> Result<(), SessionError> {
        let session = self.begun()?;
        self.store.truncate(&self.tenant, &session.id, length)?;
        self.refresh()
    }

    /// Pins a message, or lets it go.
    pub(super) fn pin(&self, seq: u64, pinned: bool) -> Result<(), SessionError> {
        self.store.pin(&self.tenant, &self.begun()?.id, seq, pinned)
    }

    /// Names the session.
    pub(super) fn set_title(&mut self, title: &str) -> Result<(), SessionError> {
        let id = self.begun()?.id.clone();
        self.store.set_title(&self.tenant, &id, Some(title))?;
        self.refresh()
    }

    /// Removes a session for good.
    pub(super) fn delete(&mut self, name: &str) -> Result<Session, CliError> {
        let gone = self.find(name)?;
        if self.session.as_ref().is_some_and(|session| session.id == gone.id) {
            self.clear()?;
        }
        self.store.delete(&self.tenant, &gone.id)?;
        Ok(gone)
    }

    /// Writes a session as JSON lines.
    pub(super) fn export(&self, name: &str, out: &mut dyn Write) -> Result<(), CliError> {
        let session = self.find(name)?;
        Ok(self.store.export(&self.tenant, &session.id, out)?)
    }

    /// Writes this conversation as JSON lines into a new file that only its owner can read.
    pub(super) fn save(&self, path: &Path) -> Result<(), CliError> {
        let session = self.begun()?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let named = |source| CliError::File { action: "write", path: path.display().to_string(), source };
        let mut file = options.open(path).map_err(named)?;
        self.store.export(&self.tenant, &session.id, &mut file)?;
        file.sync_all().map_err(named)
    }

    /// Reads a session from JSON lines and goes on with it.
    pub(super) fn load(&mut self, path: &Path) -> Result<(), CliError> {
        let named = |source| CliError::File { action: "read", path: path.display().to_string(), source };
        let file = std::fs::File::open(path).map_err(named)?;
        self.session = Some(self.store.import(&self.tenant, &mut BufReader::new(file))?);
        Ok(())
    }

    /// What a person needs to come back: the end of the id, as long as it must be to be found among the newest.
    pub(super) fn short_id(&self) -> Option<&str> {
        self.session.as_ref().map(|session| short(&session.id))
    }

    fn begun(&self) -> Result<&Session, SessionError> {
        let nothing = || SessionError::Invalid("nothing was said in this conversation yet; say something".to_owned());
        self.session.as_ref().ok_or_else(nothing)
    }

    fn refresh(&mut self) -> Result<(), SessionError> {
        if let Some(session) = &mut self.session {
            *session = self.store.get(&self.tenant, &session.id)?;
        }
        Ok(())
    }
}

/// The end of an id; ten characters are random, so that eight of them name one session among millions.
pub(super) fn short(id: &str) -> &str {
    id.get(id.len().saturating_sub(8)..).unwrap_or(id)
}

/// The file all of the person's sessions are in; `None` where the system has no place for it.
pub(super) fn default_path() -> Option<PathBuf> {
    crate::system::directories::data_dir().map(|folder| folder.join("sessions.db"))
}

/// The beginning of the first question.
fn title_of(text: &str) -> String {
    // Sixty characters of at most four bytes are within the limit.
    super::show::line(crate::cli::output::safe(text).trim(), 60)
}

impl From<SessionError> for CliError {
    fn from(error: SessionError) -> Self {
        Self::Host(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(text: &str) -> Vec<Message> {
        vec![Message::text(Role::User, text), Message::text(Role::Assistant, "answer")]
    }

    fn length(book: &SavedConversation) -> u64 {
        book.session().map_or(0, |session| session.length)
    }

    #[test]
    fn a_conversation_becomes_a_session_when_something_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.db");
        let mut book = SavedConversation::open(Some(&path)).expect("opens");
        book.set_system(Some("be brief")).expect("set");
        assert!(book.session().is_none() && book.messages().expect("read").len() == 1);
        assert!(matches!(book.keep(0, &[], &turn("hello there")), Ok(SaveOutcome::Stored)));
        let session = book.session().expect("begun").clone();
        assert_eq!((session.title.as_deref(), session.length), (Some("hello there"), 2));
        book.clear().expect("cleared");
        assert_eq!(book.system_message().expect("read").as_deref(), Some("be brief"), "the system message stays");
        let mut again = SavedConversation::open(Some(&path)).expect("opens");
        for name in ["last", "1", &session.id, &session.id.to_lowercase(), short(&session.id)] {
            again.resume(name).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(again.messages().expect("read").len(), 3);
        }
        for name in ["2", "0", "nowhere", ""] {
            assert!(again.resume(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_turn_can_take_the_place_of_what_came_after_it() {
        let mut book = SavedConversation::open(None).expect("opens");
        for text in ["one", "two"] {
            book.keep(length(&book), &[], &turn(text)).expect("kept");
        }
        assert!(matches!(book.keep(2, &[], &turn("other")), Ok(SaveOutcome::Stored)));
        let texts: Vec<String> = book.messages().expect("read").into_iter().map(|m| m.message.content).collect();
        assert_eq!(texts, ["one", "answer", "other", "answer"]);
    }

    #[test]
    fn two_chats_in_one_session_part_ways_instead_of_losing_a_turn() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.db");
        let mut first = SavedConversation::open(Some(&path)).expect("opens");
        first.keep(0, &[], &turn("one")).expect("kept");
        let mut second = SavedConversation::open(Some(&path)).expect("opens");
        second.resume("last").expect("found");
        first.keep(2, &[], &turn("faster")).expect("kept");
        assert!(matches!(second.keep(2, &[], &turn("slower")), Ok(SaveOutcome::Forked)));
        assert_eq!((length(&first), length(&second)), (4, 4));
        let texts: Vec<String> = second.messages().expect("read").into_iter().map(|m| m.message.content).collect();
        assert_eq!(texts, ["one", "answer", "slower", "answer"]);
        assert_eq!(second.recent(9).expect("read").len(), 2);
    }

    #[test]
    fn a_store_that_is_lost_leaves_the_conversation_in_memory() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.db");
        let limits = SessionLimits { file_bytes_max: 128 << 10, ..SessionLimits::default() };
        let mut book = SavedConversation::within(Some(&path), limits).expect("opens");
        book.set_system(Some("sys")).expect("set");
        let lost = (0..20).find_map(|_| {
            let before = book.messages().expect("read");
            match book.keep(length(&book), &before, &turn(&"x".repeat(9_000))).expect("kept somewhere") {
                SaveOutcome::InMemory(error) => Some((error, before.len())),
                _ => None,
            }
        });
        let (error, before) = lost.expect("the file is full in the end");
        assert!(error.to_string().contains("s.db"), "{error}");
        assert!(before > 4 && book.path().is_none());
        assert_eq!(book.messages().expect("read").len(), before + 2, "nothing of it is lost");
        let at = length(&book);
        book.keep(at, &[], &turn("three")).expect("goes on");
    }
}
