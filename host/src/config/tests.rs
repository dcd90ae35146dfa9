use std::time::Duration;

use firebox_contract::{Permission, limits};
use firebox_sandbox::OnFault;

use super::*;

/// Loads `text` as `firebox.toml` of a fresh folder, in which `prepare` can put more.
fn load_in(
    text: &str,
    vars: &[(&str, &str)],
    flags: &[(&str, &str)],
    prepare: impl Fn(&Path),
) -> Result<Config, ConfigError> {
    let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let dir = tempfile::tempdir().expect("a folder");
    prepare(dir.path());
    let path = dir.path().join(FILE);
    std::fs::write(&path, text).expect("written");
    Config::load_with(Some(&path), &owned(flags), &owned(vars))
}

fn load(text: &str) -> Result<Config, ConfigError> {
    load_in(text, &[], &[], |_| {})
}

/// Every problem of `text` as `LINE: message`, the folder left out.
fn problems(text: &str) -> Vec<String> {
    let problems = load(text).expect_err("there are problems").problems;
    let short = |problem: &Problem| match problem.to_string().split_once("firebox.toml:") {
        Some((_, rest)) => rest.to_owned(),
        None => problem.to_string(),
    };
    problems.iter().map(short).collect()
}

const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn an_empty_configuration_serves_the_built_in_model_on_this_machine() {
    let config = Config::load_with(None, &[], &[]).expect("defaults are good");
    assert_eq!(config.models, [ModelConfig::ember()]);
    assert_eq!(config.server, ServerConfig::default());
    assert!(config.server.listen.ip().is_loopback(), "no other machine is served by default");
    assert!(config.warnings.iter().any(|warning| warning.message.contains("firebox tenants add")));
}

#[test]
fn the_example_is_valid_and_shows_the_defaults() {
    let config = load(EXAMPLE).expect("good as it stands");
    assert_eq!(config.models, [ModelConfig::ember()]);
    assert_eq!(config.server, ServerConfig::default(), "what is written out is the default");
    let open: Vec<String> = EXAMPLE.lines().map(uncomment).collect();
    let text = open.join("\n").replace("\"…\"", &format!("\"{DIGEST}\""));
    let config = load_in(&text, &[("FILES_TOKEN", "t")], &[], |dir| {
        std::fs::create_dir_all(dir.join("models/qwen3-0.6b")).expect("made");
        std::fs::create_dir_all(dir.join("plugins/my-plugin")).expect("made");
        std::fs::write(dir.join("search.token"), "t").expect("written");
    })
    .unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!((config.tenants.len(), config.mcp.servers.len()), (1, 2));
    assert_eq!(config.sessions, SessionsConfig { path: config.sessions.path.clone(), ..SessionsConfig::default() });
    assert_eq!(config.audit, AuditConfig { path: config.audit.path.clone(), ..AuditConfig::default() });
    assert_eq!(config.tools, ToolsConfig::default());
    let (model, ember) = (&config.models[0], ModelConfig::ember());
    assert_eq!((&model.device, model.text_control_tokens), (&ember.device, ember.text_control_tokens));
    assert_eq!(model.context_tokens, Some(limits::CONTEXT_TOKENS_DEFAULT));
    assert_eq!(model.cache_bytes, Some(limits::KV_CACHE_BYTES_DEFAULT));
    assert_eq!(model.in_flight_max, Some(limits::IN_FLIGHT_MAX));
    let [started, reached] = config.mcp.servers.as_slice() else { panic!("two servers") };
    let times = |server: &McpServerConfig| (server.connect_timeout, server.call_timeout, server.total_timeout);
    assert_eq!(
        (times(started), started.required),
        (times(reached), reached.required),
        "what is written out is the default"
    );
    let (written, default) = (&config.tenants[0].limits, TenantLimits::default());
    assert_eq!((written.in_flight_max, written.sessions_max), (default.in_flight_max, default.sessions_max));
    assert_eq!(written.streams_max, default.streams_max);
    assert_eq!(config.tenants[0].keys[0].scopes, Scope::DEFAULT);
    assert_eq!(
        config.server,
        ServerConfig {
            hosts: config.server.hosts.clone(),
            origins: config.server.origins.clone(),
            trusted_proxies: config.server.trusted_proxies.clone(),
            admin_listen: config.server.admin_listen,
            connections_per_address_max: config.server.connections_per_address_max,
            // The defaults on a machine with enough memory.
            request_bytes_max: Some(limits::REQUEST_BYTES_DEFAULT),
            tenant_request_bytes_max: Some(limits::REQUEST_BYTES_DEFAULT / limits::TENANT_REQUEST_BYTES_DIVISOR),
            ..ServerConfig::default()
        }
    );
}

/// A line of the example, uncommented if it is a key or a table.
fn uncomment(line: &str) -> String {
    let open = line.strip_prefix("# ").unwrap_or(line);
    let key = open.split('=').next().unwrap_or_default().trim();
    let is_key = open.contains('=') && !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    if is_key || open.starts_with('[') { open.to_owned() } else { line.to_owned() }
}

#[test]
fn all_errors_are_reported_at_once_with_their_lines() {
    let found = problems(
        "[server]\nlisten = \"everywhere\"\nlisten_port = 3\nbody_bytes_max = 12\nheader_timeout = \"10\"\n\
         drain_timeout = \"1 week\"\nlog_json = \"yes\"\nhosts = [\"a\", 3]\n\n[servr]\nlisten = 1\n\n[[model]]\n\
         name = \"big\"\npath = \"no/such/folder\"\ndevice = \"abacus\"\ncontext_tokens = 0\n\n[[model]]\npath = \".\"\n\
         \n[tools]\nrounds = 33\n\n[audit]\npromts = true\n",
    );
    let wanted: &[(&str, &[&str])] = &[
        ("2", &["everywhere", "127.0.0.1:8080"]),
        ("3", &["listen_port", "known: ", "listen"]),
        ("4", &["body_bytes_max", "a whole number", "a text"]),
        ("5", &["header_timeout", "no unit", "30s"]),
        ("6", &["week", "ms, s, m, h or d"]),
        ("7", &["log_json", "true or false"]),
        ("8", &["hosts", "a list of texts"]),
        ("10", &["servr", "did you mean \"server\"?"]),
        ("15", &["no/such/folder"]),
        ("16", &["abacus", "cpu"]),
        ("17", &["context_tokens", "\"0\"", "between 1 and"]),
        ("19", &["name", "missing"]),
        ("23", &["rounds", "33", "32"]),
        ("26", &["promts", "did you mean \"prompts\"?"]),
    ];
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for ((line, words), found) in wanted.iter().zip(&found) {
        assert!(found.starts_with(&format!("{line}: ")), "line {line}: {found}");
        assert!(words.iter().all(|word| found.contains(word)), "{words:?}: {found}");
    }
}

#[test]
fn invalid_toml_is_reported_with_its_line() {
    for (text, line) in [("[server]\nlisten = \n", "2: "), ("[server\n", "1: "), ("a = 1\na = 2\n", "2: ")] {
        let found = problems(text);
        assert!(found.iter().any(|problem| problem.starts_with(line)), "{text}: {found:?}");
    }
    let error = Config::load_with(Some(Path::new("/no/such/file.toml")), &[], &[]).expect_err("is not there");
    assert!(error.to_string().contains("config init"), "{error}");
}

#[test]
fn options_override_the_environment_and_it_overrides_the_file() {
    let text = "[server]\nlisten = \"127.0.0.1:1\"\nconnections_max = 1\nheader_timeout = \"1s\"\n";
    let vars = [
        ("FIREBOX_SERVER__LISTEN", "127.0.0.1:2"),
        ("FIREBOX_SERVER__CONNECTIONS_MAX", "2"),
        ("FIREBOX_SERVER__HOSTS", "a, b"),
        ("FIREBOX_AUDIT__PROMPTS", "true"),
        ("FIREBOX_CACHE", "not ours"),
    ];
    let config = load_in(text, &vars, &[("server.listen", "127.0.0.1:3")], |_| {}).expect("good");
    assert_eq!(config.server.listen.port(), 3);
    assert_eq!((config.server.connections_max, config.server.header_timeout), (2, Duration::from_secs(1)));
    assert_eq!(config.server.hosts, ["a", "b"]);
    assert!(config.audit.prompts);
    let vars = [("FIREBOX_SERVER__LISTN", "x"), ("FIREBOX_MODEL__NAME", "x"), ("FIREBOX_TOOLS__ROUNDS", "many")];
    let error = load_in("[[model]]\nname = \"ember\"\n", &vars, &[("sever.listen", "x")], |_| {}).expect_err("wrong");
    let text = error.to_string();
    for word in [
        "FIREBOX_SERVER__LISTN: ",
        "\"listen\"",
        "FIREBOX_MODEL__NAME: ",
        "FIREBOX_TOOLS__ROUNDS: ",
        "option sever.listen: ",
    ] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
}

#[test]
fn references_between_sections_are_checked() {
    let found = problems(&format!(
        "[[model]]\nname = \"ember\"\n[[model]]\nname = \"ember\"\n[[plugin]]\nname = \"nope\"\n\
         [[tenant]]\nname = \"a\"\nplugins = [\"redct\", \"calculator\"]\n\
         [[tenant.key]]\nid = \"k\"\ndigest = \"{DIGEST}\"\n[[tenant.key]]\nid = \"k\"\ndigest = \"{DIGEST}\"\n\
         [[tenant]]\nname = \"a\"\n[[tenant]]\nname = \"b c\"\n[tenant.limits]\nrequests_per_minute = -1\n"
    ));
    let all = found.join("\n");
    for word in [
        "two models have the name \"ember\"",
        "there is no plugin \"nope\"",
        "unknown plugin \"redct\"; did you mean \"redact\"?",
        "two keys have the id \"k\"",
        "key \"k\" has the same digest",
        "two tenants have the name \"a\"; the first is at",
        "\"b c\" is not a valid name",
        "\"-1\", but must be between 0",
    ] {
        assert!(all.contains(word), "{word} is not in\n{all}");
    }
    assert_eq!(found.len(), 8, "{all}");
}

#[test]
fn likely_mistakes_are_warnings() {
    let config = load(&format!(
        "[[tenant]]\nname = \"a\"\nmodels = [\"qwen*\"]\nmcp_servers = [\"files\"]\n[[tenant]]\nname = \"b\"\n\
         [tenant.tools]\nask = [\"*\"]\n\
         [[tenant.key]]\nid = \"k\"\ndigest = \"{DIGEST}\"\nexpires = 2020-01-01\n"
    ));
    let warnings: Vec<String> = config.expect("good").warnings.iter().map(ToString::to_string).collect();
    let all = warnings.join("\n");
    for word in [
        "\"qwen*\" in \"models\" of tenant \"a\" matches nothing; configured: ember",
        "\"files\" in \"mcp_servers\" of tenant \"a\" matches nothing; none are configured",
        "tenant \"a\" has no key",
        "key \"k\" of tenant \"b\" expired 2020-01-01",
        "tool calls of tenant \"b\" need approval, but none of its keys has the scope \"approve\"",
    ] {
        assert!(all.contains(word), "{word} is not in\n{all}");
    }
}

/// A rule that matches no tool looks like one that forbids a tool.
#[test]
fn a_tool_rule_that_matches_no_tool_of_its_server_is_a_warning() {
    let config = load(
        "[[mcp.server]]\nname = \"files\"\ncommand = [\"x\"]\n[[mcp.server]]\nname = \"web\"\ncommand = [\"x\"]\nprefix = \"net\"\n\
         [[tenant]]\nname = \"a\"\nmcp_servers = [\"*\"]\n[tenant.tools]\n\
         deny = [\"files.write*\", \"files__delete\", \"write*\"]\nask = [\"web.*\", \"net.get\", \"net__*\", \"calculator\"]\n",
    );
    let warnings: Vec<String> = config.expect("good").warnings.iter().map(ToString::to_string).collect();
    let about = |glob: &str| warnings.iter().filter(|text| text.contains(&format!("\"{glob}\" in"))).count();
    for (glob, expected) in [
        ("files.write*", 1),
        ("files__delete", 1),
        ("web.*", 1),
        ("net.get", 1),
        ("write*", 0),
        ("net__*", 0),
        ("calculator", 0),
    ] {
        assert_eq!(about(glob), expected, "{glob}: {warnings:?}");
    }
    let all = warnings.join("\n");
    assert!(all.contains("files__TOOL with prefix = \"files\""), "{all}");
    assert!(all.contains("their names are net__TOOL"), "{all}");
}

#[test]
fn all_settings_of_a_tenant_are_read() {
    let config = load(&format!(
        "[[plugin]]\nname = \"mask\"\nsource = \"redact\"\nconfig = {{ restore = true, n = [1, 2.5] }}\nmemory = \"8MiB\"\non_fault = \"skip\"\non_timeout = \"fail\"\n\
         [[tenant]]\nname = \"acme\"\nweight = 3\nmodels = [\"ember\"]\nplugins = [\"mask\", \"units\"]\n\
         [tenant.tools]\ndeny = [\"fs.write\"]\nask = [\"fs.*\"]\notherwise = \"deny\"\nallow = [\"calc*\"]\n\
         [tenant.limits]\nrequests_per_minute = 10\nplugin_memory = \"16MiB\"\nplugin_timeout = \"250ms\"\n\
         [[tenant.key]]\nid = \"one\"\ndigest = \"{DIGEST}\"\nexpires = 2099-01-01T00:00:00Z\nscopes = [\"chat\", \"metrics\"]\n"
    ))
    .expect("good");
    let mask = &config.plugins[0];
    assert_eq!(
        (mask.source.as_str(), mask.on_fault, mask.limits.memory_bytes),
        ("redact", Some(OnFault::Skip), Some(8 << 20))
    );
    assert_eq!(mask.on_timeout, Some(OnFault::Fail));
    assert_eq!(mask.config_json.as_deref(), Some("{\"n\":[1,2.5],\"restore\":true}"));
    assert_eq!(config.plugins[1].name, "units", "a built-in plugin that a tenant names needs no section");
    let tenant = &config.tenants[0];
    let says = |tool| tenant.tools.permission(tool);
    assert_eq!(
        ["fs.write", "fs.read", "calculate", "other"].map(says),
        [Permission::Deny, Permission::Ask, Permission::Allow, Permission::Deny]
    );
    assert_eq!((tenant.weight, tenant.limits.requests_per_minute), (3, Some(10)));
    assert_eq!(tenant.limits.plugin.timeout, Some(Duration::from_millis(250)));
    assert_eq!(tenant.limits.in_flight_max, limits::IN_FLIGHT_MAX);
    assert_eq!(tenant.keys[0].scopes, [Scope::Chat, Scope::Metrics]);
    assert_eq!(tenant.keys[0].digest, crate::tenancy::keys::digest("abc"));
    assert!(tenant.keys[0].expires.is_some());
}

#[test]
fn secrets_of_mcp_servers_are_references_and_never_printed() {
    let text = "[[mcp.server]]\nname = \"s\"\ncommand = [\"prog\"]\nenv = { API_TOKEN = \"env:T\", MODE = \"plain\" }\n\
                [[mcp.server]]\nname = \"h\"\nurl = \"https://mcp.example/mcp\"\nbearer = \"env:T\"\nheaders = { X-Team = \"blue\" }\n";
    let config = load_in(text, &[("T", "hunter2")], &[], |_| {}).expect("good");
    let [program, remote] = config.mcp.servers.as_slice() else { panic!("two servers") };
    assert_eq!(
        program.env.iter().map(|pair| (pair.0.as_str(), pair.1.expose())).collect::<Vec<_>>(),
        [("API_TOKEN", "hunter2"), ("MODE", "plain")]
    );
    assert_eq!(
        remote.headers.iter().map(|pair| (pair.0.as_str(), pair.1.expose())).collect::<Vec<_>>(),
        [("x-team", "blue"), ("authorization", "Bearer hunter2")]
    );
    let shown = format!("{}{config:?}", config.print());
    assert!(!shown.contains("hunter2") && shown.contains("env:T"), "{shown}");
    let found = problems(
        "[[mcp.server]]\nname = \"s\"\ncommand = [\"prog\"]\nurl = \"http://x\"\nenv = { API_TOKEN = \"hunter2\" }\n\
         bearer = \"hunter2\"\nheaders = { a = \"env:NOT_SET\" }\n[[mcp.server]]\nname = \"t\"\n[[mcp.server]]\nname = \"u\"\nurl = \"ftp://x\"\n",
    );
    let all = found.join("\n");
    for word in [
        "both \"command\" and \"url\"",
        "\"env.API_TOKEN\" is a secret",
        "\"bearer\" is a secret",
        "NOT_SET",
        "needs \"command\"",
        "ftp://x",
    ] {
        assert!(all.contains(word), "{word} is not in\n{all}");
    }
    assert!(!all.contains("hunter2"), "{all}");
}

#[test]
fn secrets_of_plugins_are_references_with_a_host() {
    let plugin = |grant: &str| format!("[[plugin]]\nname = \"notes\"\ngrants = [\"{grant}\"]\n");
    let config = load(&plugin("secret:key=file:run/key for https://api.example.org/v1/")).expect("good");
    let grant = &config.plugins[0].grants[0];
    assert!(
        grant.starts_with("secret:key=file:/") && grant.ends_with("/run/key for https://api.example.org/v1/"),
        "{grant}"
    );
    let tenant = |grant: &str| {
        format!("{}[[tenant]]\nname = \"acme\"\n[tenant.grants]\nnotes = [\"{grant}\"]\n", plugin("clock"))
    };
    assert!(load(&tenant("secret:key=env:ACME_KEY")).is_ok());
    let own = load(&tenant("secret:key=file:run/acme")).expect("good").tenants[0].grants.clone().expect("grants");
    assert!(own["notes"][0].starts_with("secret:key=file:/") && own["notes"][0].ends_with("/run/acme"), "{own:?}");
    for (text, expected) in [
        (plugin("secret:key=sk-hunter2-hunter2"), "must not have the secret itself"),
        (plugin("secret:key=env:KEY for api.example.org"), "is not METHODS URL"),
        (tenant("secret:key=env:KEY for https://evil.test/"), "only [[plugin]] names the host"),
        (tenant("secret:key=sk-hunter2-hunter2"), "must not have the secret itself"),
    ] {
        let found = problems(&text).join("\n");
        assert!(found.contains(expected) && !found.contains("hunter2"), "{found}");
    }
}

#[test]
fn a_printed_configuration_can_be_read_again() {
    let text = "[[plugin]]\nname = \"redact\"\ntimeout = \"2s\"\n[[mcp.server]]\nname = \"s\"\ncommand = [\"a \\\"b\\\"\"]\n\
                [[tenant]]\nname = \"acme\"\n[tenant.limits]\ntokens_per_minute = 5\n[audit]\npath = \"a.jsonl\"\n";
    let config = load(text).expect("good");
    let again = load(&config.print()).unwrap_or_else(|error| panic!("{error}\n{}", config.print()));
    assert_eq!(again.print(), config.print());
    assert_eq!(again.server, config.server);
    assert_eq!(again.mcp, config.mcp);
}

#[test]
fn tenants_of_both_files_are_merged() {
    let main = "[[tenant]]\nname = \"a\"\n";
    let with = |more: &'static str| {
        load_in(main, &[], &[], move |dir| std::fs::write(dir.join(TENANTS_FILE), more).expect("written"))
    };
    let config = with("[[tenant]]\nname = \"b\"\n").expect("good");
    assert_eq!(config.tenants.iter().map(|tenant| tenant.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let error = with("[[tenant]]\nname = \"a\"\n").expect_err("twice").to_string();
    assert!(error.contains("tenants.toml:2: ") && error.contains("firebox.toml:2"), "{error}");
    let error = with("[server]\nlisten = \"x\"\n").expect_err("not here").to_string();
    assert!(error.contains("tenants.toml:1: unknown key \"server\""), "{error}");
}

#[test]
fn hostile_text_neither_panics_nor_recurses_deeply() {
    let deep = format!("a = {}", "[".repeat(100_000));
    let tables = format!("a = {}", "{ a = ".repeat(100_000));
    let dotted = format!("[{}a]\nb = 1", "a.".repeat(100_000));
    for text in [
        deep.as_str(),
        &tables,
        &dotted,
        "\0",
        "a = 1e999",
        "tenant = 3",
        "[[tenant]]\nkey = 3",
        "mcp = []",
        "[mcp]\nserver = {}",
    ] {
        assert!(load(text).is_err(), "{}", &text[..text.len().min(40)]);
    }
    for end in (0..EXAMPLE.len()).step_by(13).filter(|end| EXAMPLE.is_char_boundary(*end)) {
        drop(load(&EXAMPLE[..end]));
    }
}

#[test]
fn a_configuration_without_tenants_warns_about_who_is_served() {
    let warned = |text: &str| {
        let warnings = load(text).expect("good").warnings;
        warnings
            .iter()
            .find(|warning| warning.message.contains("there are no tenants"))
            .expect("a warning")
            .message
            .clone()
    };
    let here = warned("");
    assert!(here.contains("every client on this machine without a key, as the tenant \"local\""), "{here}");
    let open = warned("[server]\nlisten = \"0.0.0.0:8080\"");
    assert!(open.contains("does not start") && open.contains("0.0.0.0:8080"), "{open}");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_an_error_if_it_is_a_setting() {
    use std::os::unix::ffi::OsStringExt as _;
    let bad = || OsString::from_vec(vec![b'a', 0xff]);
    let vars = |name: &str| texts([(OsString::from(name), bad())].into_iter());
    assert_eq!(vars("PATH").expect("passed over"), []);
    let error = vars("FIREBOX_SERVER__LISTEN").expect_err("refused").to_string();
    assert!(error.contains("FIREBOX_SERVER__LISTEN") && error.contains("not UTF-8"), "{error}");
}
