//! Other programs' files, as they write them.

use std::io::{Cursor, Write};

use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::cli::issuer::documents::Documents;

/// What a vault would export, of two keys.
pub fn ours() -> Documents {
    let key = |kid: &str, x: &str| json!({ "alg": "ES256", "crv": "P-256", "kid": kid, "kty": "EC", "use": "sig", "x": x, "y": "AAAA" });
    Documents {
        configuration: json!({
            "issuer": "https://id.example", "jwks_uri": "https://id.example/.well-known/jwks.json",
            "id_token_signing_alg_values_supported": ["ES256", "EdDSA"],
        }),
        keys: [("one".to_owned(), key("one", "AQAB")), ("two".to_owned(), key("two", "AgAB"))].into(),
    }
}

/// That, and what differs from it.
pub fn issuer_served() -> Vec<Vec<u8>> {
    let ours = ours();
    let set = json!({ "keys": ours.keys.values().collect::<Vec<_>>() });
    let of = |configuration: &Value, set: &Value| format!("{configuration}\0{set}").into_bytes();
    let changed = |change: fn(&mut Value, &mut Value)| {
        let (mut configuration, mut set) = (ours.configuration.clone(), set.clone());
        change(&mut configuration, &mut set);
        of(&configuration, &set)
    };
    vec![
        of(&ours.configuration, &set),
        changed(|configuration, _| configuration["issuer"] = json!("https://other.example")),
        changed(|configuration, _| *configuration = json!({ "id_token_signing_alg_values_supported": ["EdDSA", "ES256"] })),
        changed(|_, set| set["keys"][0]["d"] = json!("AAAA")),
        changed(|_, set| set["keys"][0]["x"] = json!("AAAA")),
        changed(|_, set| set["keys"][0]["kid"] = json!("three".repeat(40))),
        changed(|_, set| set["keys"][0]["kid"] = json!("two")),
        changed(|_, set| set["keys"][0] = json!({})),
        changed(|_, set| *set = json!({ "keys": {} })),
        b"[]\0x".to_vec(),
        vec![],
    ]
}

pub fn environment() -> Vec<Vec<u8>> {
    let texts = [
        "# comment\nexport A=1 # more\nB='two words'\nC=\"x\\ny\"\nD=p@ss#word\n",
        "HOME_OF=x\nA='pa$HOME_OF'\nB=pa$HOME_OF\nC=\"a\\$b\"\nD=${HOME_OF}y\n",
        "A=1\nB=\nC=touchlease://prod/C\nnonsense s3cret\nA=2\n",
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}

pub fn env_file() -> Vec<Vec<u8>> {
    let texts = [
        "A=1\nTOKEN=touchlease://prod/TOKEN\nexport B='two words'\n",
        "A=touchlease://prod/no such\n",
        "B='open\nto the end\n",
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}

pub fn git_objects() -> Vec<Vec<u8>> {
    let (oid, none) = ("0123456789abcdef".repeat(4), "0".repeat(64));
    let texts = [
        format!("{oid} blob 12"),
        format!("{} tree 4294967296", &oid[..40]),
        format!("{oid} missing"),
        format!(":000000 100644 {none} {oid} A\0a b\0:100644 100755 {none} {oid} M\0x\0:000000 160000 {none} {oid} A\0sub\0"),
    ];
    texts.map(String::into_bytes).into()
}

/// The first 300 bytes of the databases that the suite imports: their headers, and a little more. Of KDB there is none.
pub fn kdbx_cost() -> Vec<Vec<u8>> {
    let three = include_bytes!("../../../tests/suite/import/keepass3.kdbx");
    let four = include_bytes!("../../../tests/suite/import/keepass4.kdbx");
    let mut one = vec![0; 124];
    one[..8].copy_from_slice(&[0x03, 0xd9, 0xa2, 0x9a, 0x65, 0xfb, 0x4b, 0xb5]);
    vec![three[..300].to_vec(), four[..300].to_vec(), one]
}

/// An archive with this as its `export.data`, as it is, and an attachment.
pub fn archive(data: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(vec![]));
    let plain = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut add = |name: &str, bytes: &[u8], options| {
        zip.start_file(name, options).expect("a name");
        zip.write_all(bytes).expect("memory takes all");
    };
    add("export.data", data, plain);
    add("files/a__photo.jpg", b"attachment", plain);
    zip.finish().expect("memory takes all").into_inner()
}

pub fn onepux() -> Vec<Vec<u8>> {
    let item = |details: &str| {
        format!(
            r#"{{"accounts":[{{"vaults":[{{"attrs":{{"name":"Personal"}},"items":[{{"categoryUuid":"001","state":"active","details":{details},"overview":{{"title":"Shop"}}}}]}}]}}]}}"#
        )
    };
    let login = item(
        r#"{"loginFields":[{"value":"me","name":"user","fieldType":"T","designation":"username"},{"value":"s3cret","name":"pass","fieldType":"P","designation":"password"}],"notesPlain":"a note"}"#,
    );
    let fields = item(
        r#"{"password":"p","sections":[{"fields":[{"title":"key","id":"a","value":{"concealed":"hidden"}},{"title":"","id":"b","value":{"totp":"otpauth://x"}},{"title":"ssh","id":"c","value":{"sshKey":{"privateKey":"-----"}}},{"title":"card","id":"d","value":{"creditCardNumber":"4111"}}]}],"documentAttributes":{}}"#,
    );
    let note = item(r#"{"notesPlain":"the secret"}"#).replace("\"001\"", "\"003\"");
    let texts = [login, fields, note];
    let archives: Vec<Vec<u8>> = texts.iter().map(|text| archive(text.as_bytes())).collect();
    archives.into_iter().chain(texts.map(String::into_bytes)).collect()
}
