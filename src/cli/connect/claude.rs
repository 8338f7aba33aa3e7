//! Claude Code's settings: `mcpServers` in one file of JSON, `hooks` in another.

use jsonc_parser::cst::{CstInputValue, CstNode, CstObject, CstRootNode};
use jsonc_parser::{ParseOptions, json};

use super::NAME;
use super::settings::{Settings, SettingsError, is_our_hook};

const SERVERS: &str = "mcpServers";
const HOOKS: &str = "hooks";
const EVENT: &str = "PreToolUse";

/// See the module.
pub struct Json(CstRootNode);

impl Json {
    fn root(&self) -> Result<CstObject, SettingsError> {
        self.0.object_value_or_create().ok_or(SettingsError::Kind("the whole file"))
    }

    /// Each hook for this event, with the group that it stands in.
    fn hooks(&self) -> Vec<(CstNode, CstObject)> {
        let groups = self.0.object_value().and_then(|root| root.object_value(HOOKS)?.array_value(EVENT));
        let groups = groups.into_iter().flat_map(|groups| groups.elements());
        let listed = |group: CstNode| {
            let list = group.as_object().and_then(|object| object.array_value(HOOKS));
            let hooks = list.into_iter().flat_map(|list| list.elements());
            hooks
                .filter_map(move |hook| Some((group.clone(), hook.as_object()?)))
                .collect::<Vec<_>>()
        };
        groups.flat_map(listed).collect()
    }

    fn ours(&self) -> Vec<(CstNode, CstObject)> {
        let mut hooks = self.hooks();
        hooks.retain(|(_, hook)| text_of(hook, "command").is_some_and(|command| is_our_hook(&command)));
        hooks
    }
}

impl Settings for Json {
    const FORM: &'static str = "JSON";

    fn parse(text: &str) -> Result<Self, SettingsError> {
        let root = CstRootNode::parse(text, &ParseOptions::default());
        root.map(Self).map_err(|error| {
            let place = error.range();
            SettingsError::Form(format!("it is wrong at byte {}", place.start))
        })
    }

    fn put_server(&mut self, program: &str, arguments: &[String]) -> Result<(), SettingsError> {
        let servers = self.root()?.object_value_or_create(SERVERS).ok_or(SettingsError::Kind(SERVERS))?;
        let list = || CstInputValue::Array(arguments.iter().map(|word| CstInputValue::String(word.clone())).collect());
        let Some(known) = servers.get(NAME) else {
            servers.append(
                NAME,
                CstInputValue::Object(vec![
                    ("type".into(), json!("stdio")),
                    ("command".into(), CstInputValue::String(program.into())),
                    ("args".into(), list()),
                ]),
            );
            return Ok(());
        };
        let server = known.object_value().ok_or(SettingsError::Kind(SERVERS))?;
        if text_of(&server, "command").as_deref() != Some(program) {
            set(&server, "command", CstInputValue::String(program.into()));
        }
        let words = server.array_value("args").map(|array| array.elements()).unwrap_or_default();
        // Whoever named a workspace there has it still.
        if !words.iter().any(|word| text(word).as_deref() == Some("mcp")) {
            set(&server, "args", list());
        }
        Ok(())
    }

    fn remove_server(&mut self) -> Result<(), SettingsError> {
        let Some(root) = self.0.object_value() else { return Ok(()) };
        let Some(servers) = root.object_value(SERVERS) else { return Ok(()) };
        if let Some(server) = servers.get(NAME) {
            server.remove();
            if let Some(nothing) = root.get(SERVERS).filter(|_| servers.properties().is_empty()) {
                nothing.remove();
            }
        }
        Ok(())
    }

    fn put_hook(&mut self, command: &str) -> Result<(), SettingsError> {
        let value = || CstInputValue::String(command.into());
        let ours = self.ours();
        for (_, hook) in &ours {
            if text_of(hook, "command").as_deref() != Some(command) {
                set(hook, "command", value());
            }
        }
        if !ours.is_empty() {
            return Ok(());
        }
        let hooks = self.root()?.object_value_or_create(HOOKS).ok_or(SettingsError::Kind(HOOKS))?;
        let groups = hooks.array_value_or_create(EVENT).ok_or(SettingsError::Kind("hooks.PreToolUse"))?;
        let hook = CstInputValue::Object(vec![("type".into(), json!("command")), ("command".into(), value())]);
        groups.append(CstInputValue::Object(vec![
            ("matcher".into(), json!("*")),
            ("hooks".into(), CstInputValue::Array(vec![hook])),
        ]));
        Ok(())
    }

    fn remove_hook(&mut self) -> Result<(), SettingsError> {
        let ours = self.ours();
        if ours.is_empty() {
            return Ok(());
        }
        for (group, hook) in ours {
            hook.remove();
            let list = group.as_object().and_then(|object| object.array_value(HOOKS));
            if list.is_some_and(|list| list.elements().is_empty()) {
                group.remove();
            }
        }
        let Some(root) = self.0.object_value() else { return Ok(()) };
        if let Some(hooks) = root.object_value(HOOKS) {
            if hooks.array_value(EVENT).is_some_and(|groups| groups.elements().is_empty())
                && let Some(event) = hooks.get(EVENT)
            {
                event.remove();
            }
            if let Some(nothing) = root.get(HOOKS).filter(|_| hooks.properties().is_empty()) {
                nothing.remove();
            }
        }
        Ok(())
    }

    fn has(&self) -> (bool, bool) {
        let server = self.0.object_value().and_then(|root| root.object_value(SERVERS)?.get(NAME));
        (server.is_some(), !self.ours().is_empty())
    }

    fn hooks_off(&self) -> Option<&'static str> {
        let set = self.0.object_value()?.get("disableAllHooks")?.value()?;
        // Whatever is not nothing, as the client reads it (2.1.332).
        let off = match set.as_boolean_lit() {
            Some(set) => set.value(),
            None => set.as_null_keyword().is_none() && text(&set).as_deref() != Some("false"),
        };
        off.then_some("disableAllHooks")
    }

    fn text(&self) -> String {
        self.0.to_string()
    }
}

fn text(node: &CstNode) -> Option<String> {
    node.as_string_lit()?.decoded_value().ok()
}

fn text_of(object: &CstObject, name: &str) -> Option<String> {
    text(&object.get(name)?.value()?)
}

fn set(object: &CstObject, name: &str, value: CstInputValue) {
    match object.get(name) {
        Some(known) => known.set_value(value),
        None => drop(object.append(name, value)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::Value;

    use super::*;

    const HOOK: &str = "/bin/touchlease hook claude";

    fn put(text: &str) -> String {
        let mut json = Json::parse(text).unwrap();
        json.put_server("/bin/touchlease", &["mcp".into()]).unwrap();
        json.put_hook(HOOK).unwrap();
        json.text()
    }

    fn remove(text: &str) -> String {
        let mut json = Json::parse(text).unwrap();
        json.remove_server().unwrap();
        json.remove_hook().unwrap();
        json.text()
    }

    #[test]
    fn everything_else_stays_and_the_second_time_changes_nothing() {
        for text in [
            "{\n  \"userID\": \"a\",\n  \"mcpServers\": {\n    \"docs\": { \"command\": \"d\",   \"env\": {\"T\": \"x\"} }\n  },\n  \"n\": 1.50\n}\n",
            "{\n\t\"hooks\": {\n\t\t\"PreToolUse\": [\n\t\t\t{ \"matcher\": \"Bash\", \"hooks\": [{ \"type\": \"command\", \"command\": \"a.sh\" }] }\n\t\t]\n\t}\n}\n",
            "{\"a\":1}",
            "{\n  \"b\": \"\\u00e9\"\n}",
        ] {
            let there = put(text);
            assert_eq!(put(&there), there, "{text}");
            assert_eq!(Json::parse(&there).unwrap().has(), (true, true), "{there}");
            let read: Value = serde_json::from_str(&there).unwrap_or_else(|error| panic!("{there}: {error}"));
            assert_eq!(read["mcpServers"]["touchlease"]["command"], "/bin/touchlease");
            let groups = read["hooks"]["PreToolUse"].as_array().unwrap();
            assert_eq!(groups.last().unwrap()["hooks"][0]["command"], HOOK, "{there}");
            for part in [
                "\"docs\": { \"command\": \"d\",   \"env\": {\"T\": \"x\"} }",
                "1.50",
                "\\u00e9",
                "a.sh",
            ] {
                assert_eq!(there.contains(part), text.contains(part), "{part} in {there}");
            }
            let (was, is): (Value, Value) = (serde_json::from_str(text).unwrap(), serde_json::from_str(&remove(&there)).unwrap());
            assert_eq!(was, is);
        }
    }

    #[test]
    fn nothing_becomes_settings_and_comments_stay() {
        let there = put("");
        let read: Value = serde_json::from_str(&there).unwrap_or_else(|error| panic!("{there}: {error}"));
        assert_eq!(read["mcpServers"]["touchlease"]["args"], serde_json::json!(["mcp"]));
        assert!(put("{\n  // mine\n  \"a\": 1 // too\n}\n").contains("  // mine\n  \"a\": 1, // too\n"));
    }

    #[test]
    fn an_older_entry_is_brought_up_to_date_and_what_its_user_added_stays() {
        let there = put(
            r#"{"mcpServers":{"touchlease":{"command":"/old/touchlease","args":["mcp","--workspace","/w"],"env":{"A":"b"}}},"hooks":{"PreToolUse":[{"matcher":"Bash","hooks":[{"type":"command","command":"/old/touchlease hook claude","timeout":5}]}]}}"#,
        );
        let read: Value = serde_json::from_str(&there).unwrap();
        let server = &read["mcpServers"]["touchlease"];
        assert_eq!((&server["command"], &server["env"]["A"]), (&"/bin/touchlease".into(), &"b".into()));
        assert_eq!(server["args"].as_array().unwrap().len(), 3);
        let hook = &read["hooks"]["PreToolUse"][0]["hooks"][0];
        assert_eq!((&hook["command"], &hook["timeout"]), (&HOOK.into(), &5.into()));
        assert_eq!(read["hooks"]["PreToolUse"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_json_or_of_another_kind_is_refused_without_its_words() {
        let Err(SettingsError::Form(said)) = Json::parse("{\"token\": \"canary\" \"x\"}") else {
            panic!("it was read")
        };
        assert!(!said.contains("canary"), "{said}");
        for text in ["[1]", "{\"mcpServers\": 1}", "{\"mcpServers\": {\"touchlease\": 1}}"] {
            assert!(Json::parse(text).unwrap().put_server("t", &[]).is_err(), "{text}");
        }
        assert!(Json::parse("{\"hooks\": {\"PreToolUse\": 1}}").unwrap().put_hook(HOOK).is_err());
    }
}
