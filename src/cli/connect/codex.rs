//! Codex's `config.toml`.

use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::super::mcp::claims::SESSION;
use super::super::mcp::outside;
use super::NAME;
use super::settings::{Settings, SettingsError, is_our_hook};

const SERVERS: &str = "mcp_servers";
const HOOKS: &str = "hooks";
const EVENT: &str = "PreToolUse";

/// What the server needs of the environment to find daemon and vault, the proxy that the agent is behind, and the way out of walls. Codex
/// passes none of these on by itself.
const VARIABLES: [&str; 7] = [
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "TOUCHLEASE_VAULT",
    SESSION,
    outside::VARIABLE,
];

/// See the module.
pub struct Toml(DocumentMut);

impl Settings for Toml {
    const FORM: &'static str = "TOML";

    fn parse(text: &str) -> Result<Self, SettingsError> {
        // The first line says where; what comes behind it repeats what stands there.
        let first = |error: toml_edit::TomlError| error.to_string().lines().next().unwrap_or_default().to_owned();
        text.parse().map(Self).map_err(|error| SettingsError::Form(first(error)))
    }

    fn put_server(&mut self, program: &str, arguments: &[String]) -> Result<(), SettingsError> {
        let servers = below(self.0.as_table_mut(), SERVERS).ok_or(SettingsError::Kind(SERVERS))?;
        let server = match servers.get_mut(NAME) {
            Some(server) => server.as_table_like_mut(),
            None => {
                servers.insert(NAME, empty(servers.is_empty() || servers.iter().any(|(_, item)| item.is_table())));
                servers.get_mut(NAME).and_then(Item::as_table_like_mut)
            }
        };
        let server = server.ok_or(SettingsError::Kind(SERVERS))?;
        set(server, "command", program.into());
        let are_ours = |item: &Item| {
            item.as_array()
                .is_some_and(|array| array.iter().any(|word| word.as_str() == Some("mcp")))
        };
        // Whoever named a workspace there has it still.
        if !server.get("args").is_some_and(are_ours) {
            set(server, "args", Value::Array(arguments.iter().collect::<Array>()));
        }
        let mut variables = server.get("env_vars").and_then(Item::as_array).cloned().unwrap_or_default();
        let missing: Vec<_> = VARIABLES
            .into_iter()
            .filter(|name| !variables.iter().any(|known| known.as_str() == Some(name)))
            .collect();
        if !missing.is_empty() {
            variables.extend(missing);
            set(server, "env_vars", Value::Array(variables));
        }
        Ok(())
    }

    fn remove_server(&mut self) -> Result<(), SettingsError> {
        let Some(servers) = self.0.get_mut(SERVERS) else { return Ok(()) };
        let servers = servers.as_table_like_mut().ok_or(SettingsError::Kind(SERVERS))?;
        servers.remove(NAME);
        if servers.is_empty() {
            self.0.remove(SERVERS);
        }
        Ok(())
    }

    fn put_hook(&mut self, command: &str) -> Result<(), SettingsError> {
        let kind = SettingsError::Kind("hooks.PreToolUse");
        let hooks = below(self.0.as_table_mut(), HOOKS).ok_or(SettingsError::Kind(HOOKS))?;
        let mut there = false;
        each_hook(hooks, &mut |hook| {
            if hook.get("command").and_then(Item::as_str).is_some_and(is_our_hook) {
                set(hook, "command", command.into());
                there = true;
            }
            true
        });
        if there {
            return Ok(());
        }
        let groups = hooks.entry(EVENT).or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
        match groups {
            Item::ArrayOfTables(groups) => groups.push(group(command)),
            Item::Value(Value::Array(groups)) => groups.push(group(command).into_inline_table()),
            _ => return Err(kind),
        }
        Ok(())
    }

    fn remove_hook(&mut self) -> Result<(), SettingsError> {
        let Some(hooks) = self.0.get_mut(HOOKS) else { return Ok(()) };
        let hooks = hooks.as_table_like_mut().ok_or(SettingsError::Kind(HOOKS))?;
        each_hook(hooks, &mut |hook| {
            !hook.get("command").and_then(Item::as_str).is_some_and(is_our_hook)
        });
        if hooks
            .get(EVENT)
            .is_some_and(|groups| (groups.is_array_of_tables() || groups.is_array()) && len(groups) == 0)
        {
            hooks.remove(EVENT);
        }
        if hooks.is_empty() {
            self.0.remove(HOOKS);
        }
        Ok(())
    }

    fn has(&self) -> (bool, bool) {
        let server = self.0.get(SERVERS).and_then(|servers| servers.get(NAME)).is_some();
        let mut copy = self.0.clone();
        let mut hook = false;
        if let Some(hooks) = copy.get_mut(HOOKS).and_then(Item::as_table_like_mut) {
            each_hook(hooks, &mut |it| {
                hook |= it.get("command").and_then(Item::as_str).is_some_and(is_our_hook);
                true
            });
        }
        (server, hook)
    }

    fn hooks_off(&self) -> Option<&'static str> {
        // Its name, and the one that it had (0.171).
        let off = |name: &str| {
            self.0
                .get("features")
                .and_then(|features| features.get(name))
                .and_then(Item::as_bool)
                == Some(false)
        };
        let names = [("hooks", "features.hooks = false"), ("codex_hooks", "features.codex_hooks = false")];
        names.into_iter().find(|(name, _)| off(name)).map(|(_, setting)| setting)
    }

    fn text(&self) -> String {
        self.0.to_string()
    }
}

/// A table below another, made where there is none; nothing where something else has the name.
fn below<'a>(table: &'a mut Table, name: &str) -> Option<&'a mut dyn TableLike> {
    table.entry(name).or_insert_with(|| {
        let mut made = Table::new();
        // Its own line would say nothing.
        made.set_implicit(true);
        Item::Table(made)
    });
    table.get_mut(name).and_then(Item::as_table_like_mut)
}

fn empty(table: bool) -> Item {
    if table {
        Item::Table(Table::new())
    } else {
        Item::Value(Value::InlineTable(InlineTable::new()))
    }
}

/// Sets a member, with what stands around its value left there.
fn set(table: &mut dyn TableLike, name: &str, mut value: Value) {
    match table.get_mut(name) {
        Some(Item::Value(old)) => {
            if same(old, &value) {
                return;
            }
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        _ => drop(table.insert(name, Item::Value(value))),
    }
}

fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one.value() == other.value(),
        (Value::Array(one), Value::Array(other)) => one.iter().map(Value::as_str).eq(other.iter().map(Value::as_str)),
        _ => false,
    }
}

fn group(command: &str) -> Table {
    let mut hook = Table::new();
    set(&mut hook, "type", "command".into());
    set(&mut hook, "command", command.into());
    let mut hooks = ArrayOfTables::new();
    hooks.push(hook);
    let mut group = Table::new();
    group.insert(HOOKS, Item::ArrayOfTables(hooks));
    group
}

/// Looks at each hook for this event, in whichever of TOML's two spellings it is, and keeps those for which `keep` says so. A group that has
/// none left for that goes too.
fn each_hook(hooks: &mut dyn TableLike, keep: &mut dyn FnMut(&mut dyn TableLike) -> bool) {
    if let Some(groups) = hooks.get_mut(EVENT) {
        each(groups, &mut |group| {
            let Some(list) = group.get_mut(HOOKS) else { return true };
            let before = each(list, keep);
            len(list) == before || len(list) > 0
        });
    }
}

/// The tables of a list, in whichever spelling it is; those for which `keep` does not say so are taken out. How many there were.
fn each(list: &mut Item, keep: &mut dyn FnMut(&mut dyn TableLike) -> bool) -> usize {
    let before = len(list);
    for at in (0..before).rev() {
        let goes = match list {
            Item::ArrayOfTables(tables) => tables.get_mut(at).is_some_and(|table| !keep(table)),
            Item::Value(Value::Array(values)) => {
                let table = values.get_mut(at).and_then(Value::as_inline_table_mut);
                table.is_some_and(|table| !keep(table))
            }
            _ => false,
        };
        match list {
            Item::ArrayOfTables(tables) if goes => drop(tables.remove(at)),
            Item::Value(Value::Array(values)) if goes => drop(values.remove(at)),
            _ => {}
        }
    }
    before
}

fn len(list: &Item) -> usize {
    match list {
        Item::ArrayOfTables(tables) => tables.len(),
        Item::Value(Value::Array(values)) => values.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HOOK: &str = "/bin/touchlease hook codex";
    const FOREIGN: &str = r#"# my settings
model   = "gpt"   # keep this

[mcp_servers.docs]   # another
command = "docs-server"
env = { TOKEN = "x" }

[[hooks.PreToolUse]]
matcher = "Bash"
[[hooks.PreToolUse.hooks]]
type = "command"
command = "audit.sh"

[projects."/home/a/src"]
trust_level = "trusted"
"#;

    fn put(text: &str) -> String {
        let mut toml = Toml::parse(text).unwrap();
        toml.put_server("/bin/touchlease", &["mcp".into()]).unwrap();
        toml.put_hook(HOOK).unwrap();
        toml.text()
    }

    fn remove(text: &str) -> String {
        let mut toml = Toml::parse(text).unwrap();
        toml.remove_server().unwrap();
        toml.remove_hook().unwrap();
        toml.text()
    }

    #[test]
    fn everything_else_stays_byte_for_byte_and_the_second_time_changes_nothing() {
        for text in [
            FOREIGN,
            "",
            "model = \"x\"\n",
            "mcp_servers = { docs = { command = \"d\" } }\n",
            "[hooks]\nPreToolUse = [{ matcher = \"Bash\", hooks = [{ type = \"command\", command = \"a.sh\" }] }]\n",
        ] {
            let there = put(text);
            assert_eq!(put(&there), there, "{text}");
            assert_eq!(Toml::parse(&there).unwrap().has(), (true, true), "{there}");
            let read: toml::Table = toml::from_str(&there).unwrap_or_else(|error| panic!("{there}: {error}"));
            let server = &read["mcp_servers"]["touchlease"];
            assert_eq!(server["command"].as_str(), Some("/bin/touchlease"));
            assert_eq!(server["env_vars"].as_array().unwrap().len(), VARIABLES.len());
            let groups = read["hooks"]["PreToolUse"].as_array().unwrap();
            let last = groups.last().unwrap();
            assert_eq!(last["hooks"][0]["command"].as_str(), Some(HOOK), "{there}");
            for line in text.lines().filter(|line| line.starts_with('#') || line.contains("# ")) {
                assert!(there.contains(line), "{line} in {there}");
            }
            assert_eq!(remove(&there), text, "{there}");
        }
    }

    #[test]
    fn an_older_entry_is_brought_up_to_date_and_what_its_user_added_stays() {
        let text = "[mcp_servers.touchlease]\ncommand = \"/old/touchlease\" # mine\nargs = [\"mcp\", \"--workspace\", \"/w\"]\nstartup_timeout_sec = 30\n";
        let there = put(&format!(
            "{text}\n[[hooks.PreToolUse]]\n[[hooks.PreToolUse.hooks]]\ntype = \"command\"\ncommand = \"'/old place/touchlease' hook codex\"\ntimeout = 5\n"
        ));
        let read: toml::Table = toml::from_str(&there).unwrap();
        let server = &read["mcp_servers"]["touchlease"];
        assert!(there.contains("command = \"/bin/touchlease\" # mine"), "{there}");
        assert_eq!(server["args"].as_array().unwrap().len(), 3);
        assert_eq!(server["startup_timeout_sec"].as_integer(), Some(30));
        let groups = read["hooks"]["PreToolUse"].as_array().unwrap();
        assert_eq!(
            (groups.len(), groups[0]["hooks"][0]["command"].as_str()),
            (1, Some(HOOK)),
            "{there}"
        );
        assert_eq!(groups[0]["hooks"][0]["timeout"].as_integer(), Some(5));
    }

    #[test]
    fn what_is_no_toml_or_of_another_kind_is_refused_without_its_words() {
        let Err(SettingsError::Form(said)) = Toml::parse("token = \"canary\nx = [") else {
            panic!("it was read")
        };
        assert!(!said.contains("canary"), "{said}");
        let mut toml = Toml::parse("mcp_servers = 1\nhooks = 2\n").unwrap();
        assert!(toml.put_server("t", &[]).is_err() && toml.put_hook(HOOK).is_err());
    }
}
