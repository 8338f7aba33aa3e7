//! Exports of 1Password: a zip archive whose `export.data` is JSON (support.1password.com/1pux-format).

use std::io::{self, Cursor, Read};

use serde::Deserialize;
use zeroize::Zeroizing;
use zip::ZipArchive;

use super::source::{Format, Found, LeftOut, not_read};
use crate::wire::Failure;

const DATA: &str = "export.data";
const FILES: &str = "files/";
/// Largest `export.data` in bytes, unpacked.
const LARGEST_DATA: u64 = 256 << 20;
/// How many bytes of it there is room for at first.
const FIRST_ROOM: usize = 64 << 10;
/// The category of notes, whose text is the secret.
const SECURE_NOTE: &str = "003";

#[derive(Deserialize)]
struct Data {
    accounts: Vec<Account>,
}

#[derive(Deserialize)]
struct Account {
    vaults: Vec<Vault>,
}

#[derive(Deserialize)]
struct Vault {
    attrs: VaultAttributes,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct VaultAttributes {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    #[serde(default)]
    category_uuid: String,
    #[serde(default)]
    state: String,
    details: Details,
    overview: Overview,
}

#[derive(Deserialize)]
struct Overview {
    #[serde(default)]
    title: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    #[serde(default)]
    login_fields: Vec<LoginField>,
    notes_plain: Option<Hidden>,
    password: Option<Hidden>,
    #[serde(default)]
    sections: Vec<Section>,
    document_attributes: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LoginField {
    value: Option<Hidden>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    field_type: String,
    designation: Option<String>,
}

#[derive(Deserialize)]
struct Section {
    #[serde(default)]
    fields: Vec<Field>,
}

#[derive(Deserialize)]
struct Field {
    #[serde(default)]
    title: String,
    #[serde(default)]
    id: String,
    value: FieldValue,
}

/// One member is there, which says what kind of value it is. Those that are not named here are no secrets.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FieldValue {
    concealed: Option<Hidden>,
    credit_card_number: Option<Hidden>,
    ssh_key: Option<SshKey>,
    totp: Option<Hidden>,
    file: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SshKey {
    private_key: Option<Hidden>,
}

/// A text that is wiped.
struct Hidden(Zeroizing<String>);

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// Reads an export.
///
/// # Errors
/// It is no such archive.
pub fn read(bytes: &[u8]) -> Result<(Vec<Found>, Vec<LeftOut>), Failure> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|_| not_read(Format::OnePux, "it is no zip archive"))?;
    let text = unpacked(&mut archive)?;
    // serde_json's message could hold a piece of the text: it is not passed on.
    let data: Data = serde_json::from_slice(&text).map_err(|error| {
        let at = format!(
            "{DATA} is not in the known form, in line {}, column {}",
            error.line(),
            error.column()
        );
        not_read(Format::OnePux, &at)
    })?;
    let mut reader = Reader::default();
    for vault in data.accounts.into_iter().flat_map(|account| account.vaults) {
        for item in vault.items {
            reader.item(&vault.attrs.name, item);
        }
    }
    let names = archive.file_names().map(|name| name.unwrap_or_default());
    for name in names.filter(|name| name.starts_with(FILES) && name.len() > FILES.len()) {
        reader.leave(name.into_owned(), "attachments and documents are files, not secrets");
    }
    Ok((reader.found, reader.left_out))
}

fn unpacked(archive: &mut ZipArchive<Cursor<&[u8]>>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let file = archive
        .by_name(DATA)
        .map_err(|_| not_read(Format::OnePux, "it has no export.data"))?;
    if file.size() > LARGEST_DATA {
        return Err(not_read(Format::OnePux, "its export.data has more than 256 MiB"));
    }
    match read_wiping(file.take(LARGEST_DATA + 1)) {
        Ok(text) if text.len() as u64 <= LARGEST_DATA => Ok(text),
        _ => Err(not_read(Format::OnePux, "its export.data cannot be unpacked")),
    }
}

/// All there is. What the archive says of its size may be a lie, so room is made for what comes; each smaller buffer is wiped.
fn read_wiping(mut source: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(vec![0; FIRST_ROOM]);
    let mut filled = 0;
    loop {
        if filled == text.len() {
            let mut wider = Zeroizing::new(vec![0; text.len() * 2]);
            wider[..filled].copy_from_slice(&text);
            text = wider;
        }
        match source.read(&mut text[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    text.truncate(filled);
    Ok(text)
}

#[derive(Default)]
struct Reader {
    found: Vec<Found>,
    left_out: Vec<LeftOut>,
}

impl Reader {
    fn item(&mut self, vault: &str, item: Item) {
        let title = if item.overview.title.is_empty() {
            "untitled"
        } else {
            &item.overview.title
        };
        let place = format!("{vault} / {title}");
        if item.state == "archived" {
            self.leave(place, "it is in the archive");
            return;
        }
        let mut secrets: Vec<(Option<String>, Hidden)> = Vec::new();
        let Details {
            login_fields,
            notes_plain,
            password,
            sections,
            document_attributes,
        } = item.details;
        for field in login_fields {
            let hidden = field.field_type == "P" || field.designation.as_deref() == Some("password");
            let is_the_password = field.designation.as_deref() == Some("password");
            if let Some(value) = field.value.filter(|_| hidden) {
                secrets.push(((!is_the_password).then_some(field.name), value));
            }
        }
        secrets.extend(password.map(|value| (None, value)));
        for field in sections.into_iter().flat_map(|section| section.fields) {
            let name = if field.title.is_empty() { field.id } else { field.title };
            let FieldValue {
                concealed,
                credit_card_number,
                ssh_key,
                totp,
                file,
            } = field.value;
            if totp.is_some() {
                self.leave(
                    format!("{place}: {name}"),
                    "one-time codes are a second factor, to be kept apart from the password",
                );
            }
            if file.is_some() {
                self.leave(format!("{place}: {name}"), "attachments and documents are files, not secrets");
            }
            let value = concealed.or(credit_card_number).or_else(|| ssh_key.and_then(|key| key.private_key));
            secrets.extend(value.map(|value| (Some(name), value)));
        }
        match notes_plain.filter(|notes| !notes.0.is_empty()) {
            Some(notes) if item.category_uuid == SECURE_NOTE => secrets.push((None, notes)),
            Some(_) => self.leave(format!("{place}: notes"), "notes are kept with secure notes only"),
            None => {}
        }
        if document_attributes.is_some() {
            self.leave(format!("{place}: document"), "attachments and documents are files, not secrets");
        }
        self.secrets(&place, title, secrets);
    }

    /// The password, or the only secret, has the title for its name; others have title and field.
    fn secrets(&mut self, place: &str, title: &str, mut secrets: Vec<(Option<String>, Hidden)>) {
        secrets.retain(|(_, value)| !value.0.is_empty());
        if secrets.is_empty() {
            self.leave(place.to_owned(), "it has no secret in it");
        }
        let only = secrets.len() == 1;
        for (field, mut value) in secrets {
            let value = Zeroizing::new(std::mem::take(&mut *value.0).into_bytes());
            let (place, name) = match field {
                Some(field) if only => (format!("{place}: {field}"), title.to_owned()),
                Some(field) => (format!("{place}: {field}"), format!("{title}.{field}")),
                None => (place.to_owned(), title.to_owned()),
            };
            self.found.push(Found { place, name, value });
        }
    }

    fn leave(&mut self, what: String, why: &'static str) {
        self.left_out.push(LeftOut { what, why });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use serde_json::{Value, json};
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in files {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn export(items: &Value) -> Vec<u8> {
        let data = json!({ "accounts": [{
            "attrs": { "accountName": "A", "email": "a@b.c" },
            "vaults": [{ "attrs": { "uuid": "u", "name": "Private", "type": "P" }, "items": items }],
        }]});
        let attributes = br#"{"version":3,"description":"1Password Unencrypted Export","createdAt":1}"#;
        archive(&[
            ("export.attributes", attributes),
            (DATA, &serde_json::to_vec(&data).unwrap()),
            ("files/abc___scan.pdf", b"%PDF"),
        ])
    }

    fn item(category: &str, title: &str, details: &Value) -> Value {
        json!({
            "uuid": "x", "favIndex": 0, "createdAt": 1, "updatedAt": 1, "state": "active", "categoryUuid": category,
            "details": details, "overview": { "title": title, "url": "https://example.com", "tags": [] },
        })
    }

    #[test]
    fn passwords_concealed_fields_and_keys_are_found_and_the_rest_is_named() {
        let login = json!({
            "loginFields": [
                { "value": "alice", "id": "", "name": "username", "fieldType": "T", "designation": "username" },
                { "value": "hunter2", "id": "", "name": "password", "fieldType": "P", "designation": "password" },
            ],
            "notesPlain": "remember",
            "sections": [{ "title": "more", "name": "s", "fields": [
                { "title": "recovery key", "id": "r", "value": { "concealed": "abcd" }, "guarded": false },
                { "title": "one-time password", "id": "t", "value": { "totp": "otpauth://totp/x" } },
                { "title": "site", "id": "u", "value": { "url": "https://a" } },
            ]}],
            "passwordHistory": [{ "value": "old", "time": 1 }],
        });
        let key = json!({ "sections": [{ "fields": [
            { "title": "private key", "id": "private_key", "value": { "sshKey": { "privateKey": "-----BEGIN", "metadata": {} } } },
        ]}]});
        let note = json!({ "notesPlain": "the note", "sections": [] });
        let archived = {
            let mut old = item("001", "Old", &login);
            old["state"] = json!("archived");
            old
        };
        let items = json!([
            item("001", "GitHub", &login),
            item("114", "Deploy key", &key),
            item("003", "Note", &note),
            archived
        ]);
        let (found, left_out) = read(&export(&items)).unwrap();
        let named: Vec<_> = found.iter().map(|found| (found.name.as_str(), found.value.as_slice())).collect();
        let expected: [(&str, &[u8]); 4] = [
            ("GitHub", b"hunter2"),
            ("GitHub.recovery key", b"abcd"),
            ("Deploy key", b"-----BEGIN"),
            ("Note", b"the note"),
        ];
        assert_eq!(named, expected);
        let left: Vec<_> = left_out.iter().map(|left| left.what.as_str()).collect();
        let expected = [
            "Private / GitHub: one-time password",
            "Private / GitHub: notes",
            "Private / Old",
            "files/abc___scan.pdf",
        ];
        assert_eq!(left, expected);
    }

    #[test]
    fn what_is_no_export_is_refused_without_a_word_of_it() {
        for bytes in [
            b"PK\x03\x04".to_vec(),
            archive(&[("other", b"{}")]),
            archive(&[(DATA, b"{\"accounts\": \"s3cret\"}")]),
            archive(&[(DATA, b"{\"accounts\": [s3cret")]),
        ] {
            let failure = read(&bytes).unwrap_err();
            assert_eq!(failure.reason, "import_format");
            assert!(!failure.message.contains("s3cret"), "{}", failure.message);
        }
    }

    #[test]
    fn a_text_of_any_length_is_read_whole() {
        for len in [FIRST_ROOM - 1, FIRST_ROOM, FIRST_ROOM + 1, 5 * FIRST_ROOM] {
            let text: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            assert_eq!(*read_wiping(text.as_slice()).unwrap(), text);
        }
    }
}
