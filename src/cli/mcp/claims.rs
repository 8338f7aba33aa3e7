//! What an agent's client says of itself: shown to the person as claimed, and believed by nobody.

use std::collections::BTreeMap;
use std::path::Path;

use rmcp::model::{Implementation, RequestMetaObject};
use serde_json::Value;

/// Under which key Codex tells its session and turn with each call of a tool.
const CODEX: &str = "x-codex-turn-metadata";
/// The same of Claude Code.
const CLAUDE_CALL: &str = "claudecode/toolUseId";

/// The variable that names the proxy which the agent is behind, by the digest of its bearer, where it is behind one of ours.
pub const SESSION: &str = "TOUCHLEASE_SESSION";

/// The label of a lease that comes to that proxy, so that whatever the agent runs can use it.
pub const IN_SESSION: &str = "mcp_proxy";

/// Labels for the text of a lease: `mcp_client`, always, so that nobody takes an agent for a person, and `mcp_workspace`; `mcp_session`,
/// `mcp_turn`, `mcp_call` where the client tells them.
pub fn labels(client: Option<&Implementation>, meta: &RequestMetaObject, workspace: &Path) -> BTreeMap<String, String> {
    let named = client.map(|client| format!("{} {}", client.name, client.version));
    let mut labels = BTreeMap::from([
        ("mcp_client".to_owned(), named.unwrap_or_else(|| "unnamed".into())),
        ("mcp_workspace".to_owned(), workspace.to_string_lossy().into_owned()),
    ]);
    let codex = meta.get(CODEX).map(unpacked);
    let told = [
        ("mcp_session", codex.as_ref().and_then(|codex| text(codex.get("session_id")))),
        ("mcp_turn", codex.as_ref().and_then(|codex| text(codex.get("turn_id")))),
        ("mcp_call", text(meta.get(CLAUDE_CALL))),
    ];
    labels.extend(told.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    labels
}

/// An object, or one that stands in a text.
fn unpacked(value: &Value) -> Value {
    let inner = value.as_str().and_then(|text| serde_json::from_str(text).ok());
    inner.unwrap_or_else(|| value.clone())
}

fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn said(client: Option<&str>, meta: Value) -> Value {
        let client = client.map(|name| Implementation::new(name, "1.2"));
        let mut labels = labels(client.as_ref(), &serde_json::from_value(meta).unwrap(), Path::new("/w"));
        assert_eq!(labels.remove("mcp_workspace").as_deref(), Some("/w"));
        serde_json::to_value(labels).unwrap()
    }

    #[test]
    fn what_codex_and_claude_code_say_of_themselves_becomes_labels() {
        assert_eq!(said(None, json!({})), json!({"mcp_client": "unnamed"}));
        let turn = json!({"session_id": "s", "turn_id": 7, "model": "m", "workspaces": {}});
        for meta in [json!({CODEX: turn}), json!({CODEX: turn.to_string()})] {
            let labels = json!({"mcp_client": "codex 1.2", "mcp_session": "s", "mcp_turn": "7"});
            assert_eq!(said(Some("codex"), meta), labels);
        }
        let meta = json!({"claudecode/toolUseId": "toolu_1", "progressToken": 3});
        assert_eq!(
            said(Some("claude"), meta),
            json!({"mcp_client": "claude 1.2", "mcp_call": "toolu_1"})
        );
        // What has another form than it has there is nothing.
        assert_eq!(
            said(Some("x"), json!({CODEX: [1], "claudecode/toolUseId": {}})),
            json!({"mcp_client": "x 1.2"})
        );
    }
}
