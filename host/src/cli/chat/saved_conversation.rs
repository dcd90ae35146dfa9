//! The saved conversation: its session in the store, and what happens if it cannot be stored.

use std::fs::OpenOptions;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use firebox_contract::{Caller, Message, Role, TenantId, limits};

use crate::error::CliError;
use crate::sessions::{
    NewSession, PageRequest, SYSTEM_SEQ, Session, SessionError, SessionLimits, SessionStore, StoredMessage,
};

/// The shortest end of an id that names a session, in characters. Shorter names are numbers in the list of sessions.
const ID_END_MIN: usize = 4;

/// Where a turn was saved.
pub(super) enum SaveOutcome {
    /// In its session.
    Stored,
    /// In a fork of the session, because another process continued the session.
    Forked,
    /// Only in memory, because of this error.
    InMemory(SessionError),
}

/// A conversation and the store of its session.
pub(super) struct SavedConversation {
    store: SessionStore,
    tenant: TenantId,
    model: String,
    /// `None` until the first turn: an empty conversation is not stored.
    session: Option<Session>,
    /// The system message before the first turn.
    system: Option<String>,
    is_file: bool,
}

impl SavedConversation {
    /// A conversation in the store at `path`, or in memory.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, SessionError> {
        Self::within(path, SessionLimits::default())
    }

    fn within(path: Option<&Path>, limits: SessionLimits) -> Result<Self, SessionError> {
        let limits = SessionLimits { sessions_max: limits::CHAT_SESSIONS_MAX, idle: None, ..limits };
        // The store has one user, who may use the whole file.
        let limits = SessionLimits { tenant_bytes_max: limits.file_bytes_max, ..limits };
        let store = SessionStore::open(path.unwrap_or(Path::new(":memory:")), limits)?;
        let tenant = Caller::local().tenant;
        Ok(Self { store, tenant, model: String::new(), session: None, system: None, is_file: path.is_some() })
    }

    /// The name of the model for new sessions.
    pub(super) fn set_model(&mut self, model: &str) {
        model.clone_into(&mut self.model);
    }

    /// The session; `None` before the first turn.
    pub(super) fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// The file of the session; `None` if it is in memory.
    pub(super) fn path(&self) -> Option<&Path> {
        self.is_file.then(|| self.store.path())
    }

    /// All messages, the system message first.
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

    /// Saves a turn after the first `at` messages and removes the messages after them. `before` holds the earlier messages, in
    /// case the store fails and the conversation moves to memory.
    pub(super) fn save_turn(
        &mut self,
        at: u64,
        before: &[StoredMessage],
        turn: &[Message],
    ) -> Result<SaveOutcome, SessionError> {
        match self.try_save_turn(at, turn) {
            Ok(()) => Ok(SaveOutcome::Stored),
            Err(SessionError::Conflict { .. }) => {
                self.fork(Some(at))?;
                self.try_save_turn(at, turn)?;
                Ok(SaveOutcome::Forked)
            }
            Err(error @ (SessionError::TooLarge(_) | SessionError::TooMany { .. })) => Err(error),
            Err(error) => {
                self.move_to_memory(before, turn)?;
                Ok(SaveOutcome::InMemory(error))
            }
        }
    }

    fn try_save_turn(&mut self, at: u64, turn: &[Message]) -> Result<(), SessionError> {
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
            // The new session is empty. If it cannot be removed either, the first error is reported.
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

    /// Starts a new conversation with the same system message.
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

    /// Continues another session: its number in [`SavedConversation::recent`], its id, the end of its id, or `last`.
    pub(super) fn resume(&mut self, name: &str) -> Result<(), CliError> {
        self.session = Some(self.find(name)?);
        self.system = None;
        Ok(())
    }

    /// The session with the name `name`, as in [`SavedConversation::resume`].
    pub(super) fn find(&self, name: &str) -> Result<Session, CliError> {
        let unknown = || {
            CliError::usage(format!(
                "there is no session \"{name}\"; list sessions with /sessions or firebox chat --list"
            ))
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
        let mut page = PageRequest::default();
        let mut found: Vec<Session> = Vec::new();
        loop {
            let listed = self.store.list(&self.tenant, &page)?;
            found.extend(listed.sessions.into_iter().filter(|session| session.id.ends_with(&asked)));
            page.after = listed.next;
            if found.len() > 1 {
                return Err(CliError::usage(format!(
                    "more than one session id ends with \"{name}\"; give more characters"
                )));
            }
            if page.after.is_none() {
                return found.pop().ok_or_else(unknown);
            }
        }
    }

    /// The newest sessions, at most `limit`.
    pub(super) fn recent(&self, limit: usize) -> Result<Vec<Session>, SessionError> {
        Ok(self.store.list(&self.tenant, &PageRequest { limit, after: None })?.sessions)
    }

    /// Continues in a copy of the first `at` messages, or of all. The session itself does not change.
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

    /// Pins or unpins a message.
    pub(super) fn pin(&self, seq: u64, pinned: bool) -> Result<(), SessionError> {
        self.store.pin(&self.tenant, &self.begun()?.id, seq, pinned)
    }

    /// Sets the title of the session.
    pub(super) fn set_title(&mut self, title: &str) -> Result<(), SessionError> {
        let id = self.begun()?.id.clone();
        self.store.set_title(&self.tenant, &id, Some(title))?;
        self.refresh()
    }

    /// Deletes a session.
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

    /// Writes this conversation as JSON lines to a new file, readable by its owner only.
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

    /// Imports a session from JSON lines and continues it.
    pub(super) fn load(&mut self, path: &Path) -> Result<(), CliError> {
        let named = |source| CliError::File { action: "read", path: path.display().to_string(), source };
        let file = std::fs::File::open(path).map_err(named)?;
        self.session = Some(self.store.import(&self.tenant, &mut BufReader::new(file))?);
        Ok(())
    }

    /// The end of the session's id, for the option `--session`.
    pub(super) fn short_id(&self) -> Option<&str> {
        self.session.as_ref().map(|session| short(&session.id))
    }

    fn begun(&self) -> Result<&Session, SessionError> {
        let nothing = || SessionError::Invalid("this conversation is empty; send a message first".to_owned());
        self.session.as_ref().ok_or_else(nothing)
    }

    fn refresh(&mut self) -> Result<(), SessionError> {
        if let Some(session) = &mut self.session {
            *session = self.store.get(&self.tenant, &session.id)?;
        }
        Ok(())
    }
}

/// The last eight characters of an id. They are random, so they name one session among millions.
pub(super) fn short(id: &str) -> &str {
    id.get(id.len().saturating_sub(8)..).unwrap_or(id)
}

/// The file of the user's sessions; `None` if there is no data directory.
pub(super) fn default_path() -> Option<PathBuf> {
    crate::system::directories::data_dir().map(|folder| folder.join("sessions.db"))
}

/// The title of a session: the beginning of its first message.
fn title_of(text: &str) -> String {
    // Sixty characters of at most four bytes are within the limit.
    super::show::line(crate::cli::output::sanitized(text).trim(), 60)
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

    fn length(saved: &SavedConversation) -> u64 {
        saved.session().map_or(0, |session| session.length)
    }

    #[test]
    fn a_conversation_is_stored_after_its_first_turn() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.db");
        let mut saved = SavedConversation::open(Some(&path)).expect("opens");
        saved.set_system(Some("be brief")).expect("set");
        assert!(saved.session().is_none() && saved.messages().expect("read").len() == 1);
        assert!(matches!(saved.save_turn(0, &[], &turn("hello there")), Ok(SaveOutcome::Stored)));
        let session = saved.session().expect("begun").clone();
        assert_eq!((session.title.as_deref(), session.length), (Some("hello there"), 2));
        saved.clear().expect("cleared");
        assert_eq!(saved.system_message().expect("read").as_deref(), Some("be brief"), "the system message stays");
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
    fn a_turn_can_replace_later_turns() {
        let mut saved = SavedConversation::open(None).expect("opens");
        for text in ["one", "two"] {
            saved.save_turn(length(&saved), &[], &turn(text)).expect("kept");
        }
        assert!(matches!(saved.save_turn(2, &[], &turn("other")), Ok(SaveOutcome::Stored)));
        let texts: Vec<String> = saved.messages().expect("read").into_iter().map(|m| m.message.content).collect();
        assert_eq!(texts, ["one", "answer", "other", "answer"]);
    }

    #[test]
    fn a_second_chat_in_one_session_continues_in_a_fork() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.db");
        let mut first = SavedConversation::open(Some(&path)).expect("opens");
        first.save_turn(0, &[], &turn("one")).expect("kept");
        let mut second = SavedConversation::open(Some(&path)).expect("opens");
        second.resume("last").expect("found");
        first.save_turn(2, &[], &turn("faster")).expect("kept");
        assert!(matches!(second.save_turn(2, &[], &turn("slower")), Ok(SaveOutcome::Forked)));
        assert_eq!((length(&first), length(&second)), (4, 4));
        let texts: Vec<String> = second.messages().expect("read").into_iter().map(|m| m.message.content).collect();
        assert_eq!(texts, ["one", "answer", "slower", "answer"]);
        assert_eq!(second.recent(9).expect("read").len(), 2);
    }

    #[test]
    fn a_conversation_moves_to_memory_if_its_store_is_full() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.db");
        let limits = SessionLimits { file_bytes_max: 128 << 10, ..SessionLimits::default() };
        let mut saved = SavedConversation::within(Some(&path), limits).expect("opens");
        saved.set_system(Some("sys")).expect("set");
        let lost = (0..20).find_map(|_| {
            let before = saved.messages().expect("read");
            match saved.save_turn(length(&saved), &before, &turn(&"x".repeat(9_000))).expect("kept somewhere") {
                SaveOutcome::InMemory(error) => Some((error, before.len())),
                _ => None,
            }
        });
        let (error, before) = lost.expect("the file is full in the end");
        assert!(error.to_string().contains("s.db"), "{error}");
        assert!(before > 4 && saved.path().is_none());
        assert_eq!(saved.messages().expect("read").len(), before + 2, "nothing of it is lost");
        let at = length(&saved);
        saved.save_turn(at, &[], &turn("three")).expect("saved");
    }
}
