use super::super::{Audit, Record, ToolRecord};
use super::*;

/// A log of two files after a rotation, with 40 lines in total.
fn log(dir: &Path) -> [PathBuf; 2] {
    let (old, new) = (dir.join("audit.1"), dir.join("audit.jsonl"));
    let write = |from: usize| {
        let audit = Audit::open(&new, false, "start").expect("opens");
        for number in from..from + 19 {
            audit.record(&Record::Tool(ToolRecord { tool: &number.to_string(), ..ToolRecord::default() }));
        }
        audit.close().expect("nothing is lost");
    };
    write(0);
    std::fs::rename(&new, &old).expect("moved");
    write(100);
    [old, new]
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).expect("readable").lines().map(str::to_owned).collect()
}

fn rewrite(path: &Path, lines: &[String]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(path, text).expect("written");
}

fn broken(paths: &[PathBuf]) -> BrokenLog {
    match verify(paths) {
        Err(VerifyError::Broken(broken)) => broken,
        other => panic!("not broken: {other:?}"),
    }
}

#[test]
fn an_unchanged_log_is_verified_across_a_rotation_and_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let [old, new] = log(dir.path());
    let whole = verify(&[old.clone(), new.clone()]).expect("whole");
    assert_eq!((whole.lines, whole.first, whole.last), (40, 1, 40));
    let later = verify(std::slice::from_ref(&new)).expect("whole without the older file");
    assert_eq!((later.lines, later.first), (20, 21), "and says where it begins");
    let turned = broken(&[new, old]);
    assert_eq!(turned.line, 1, "{turned}");
}

#[test]
fn every_kind_of_change_is_found_at_its_line() {
    type Change = fn(&mut Vec<String>);
    let rows: [(&str, Change, u64, &str); 8] = [
        ("a line edited", |lines| lines[7] = lines[7].replace("\"106\"", "\"999\""), 9, "line 28"),
        ("a line taken out", |lines| drop(lines.remove(7)), 8, "lines 28 to 28 of the log are missing"),
        ("several taken out", |lines| drop(lines.drain(3..9)), 4, "lines 24 to 29 of the log are missing"),
        ("two exchanged", |lines| lines.swap(4, 5), 5, "missing before it"),
        ("one repeated", |lines| lines.insert(6, lines[5].clone()), 7, "number 26 after number 26"),
        ("one put in", |lines| lines.insert(6, "{\"event\":\"admin\"}".to_owned()), 8, "line 26"),
        ("the end cut off", |lines| lines.truncate(15), 0, "lines 36 to 40 of the log are missing"),
        ("the last edited", |lines| lines[19] = lines[19].replace("\"118\"", "\"999\""), 0, "its last"),
    ];
    for (what, change, line, words) in rows {
        let dir = tempfile::tempdir().expect("a folder");
        let [old, new] = log(dir.path());
        let mut text = lines(&new);
        change(&mut text);
        rewrite(&new, &text);
        let found = broken(&[old, new.clone()]);
        assert_eq!((found.line, &found.path), (line, &new), "{what}: {found}");
        assert!(found.what.contains(words), "{what}: {found}");
    }
}

#[test]
fn an_incomplete_line_is_counted_and_cannot_hide_a_change() {
    let dir = tempfile::tempdir().expect("a folder");
    let [old, new] = log(dir.path());
    let mut text = std::fs::read_to_string(&new).expect("readable");
    text.push_str("{\"event\":\"to");
    std::fs::write(&new, &text).expect("written");
    assert!(verify(&[old.clone(), new.clone()]).expect("whole").unfinished);
    drop(Audit::open(&new, false, "start").expect("opens"));
    let whole = verify(&[old.clone(), new.clone()]).expect("whole");
    assert_eq!((whole.lines, whole.torn, whole.unfinished), (41, 1, false));
    rewrite(&new, &lines(&new).into_iter().filter(|line| line.ends_with('}')).collect::<Vec<_>>());
    assert_eq!(broken(&[old, new]).line, 21, "even the piece cannot be taken out");
}

#[test]
fn lines_before_the_chain_are_counted_and_linked() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("audit.jsonl");
    std::fs::write(&path, "{\"event\":\"old\"}\n{\"event\":\"older\"}\n").expect("written");
    drop(Audit::open(&path, false, "start").expect("opens"));
    let whole = verify(std::slice::from_ref(&path)).expect("whole");
    assert_eq!((whole.lines, whole.unchained), (1, 2));
    let text = std::fs::read_to_string(&path).expect("readable").replace("older", "other");
    std::fs::write(&path, text).expect("written");
    assert_eq!(broken(&[path]).line, 3, "its last line is vouched for");
}

#[test]
fn a_missing_file_and_an_overlong_line_are_errors() {
    let dir = tempfile::tempdir().expect("a folder");
    assert!(matches!(verify(&[dir.path().join("none")]), Err(VerifyError::Io(..))));
    let long = dir.path().join("long");
    std::fs::write(&long, vec![b'x'; limits::AUDIT_LINE_BYTES_MAX + 1]).expect("written");
    assert!(broken(&[long]).what.contains("more than"));
}
