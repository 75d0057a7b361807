//! What holds for all JSON that is read (P-1.1): what was written reads back as the same, and unknown fields, duplicate
//! fields and trailing data are refused, however deep.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// So many objects of a document are tried.
const OBJECTS: usize = 24;

/// Reads `text` as a `T`. Whether it is one. `open` are the fields, anywhere in it, whose content is anybody's.
pub(crate) fn reads<T: Serialize + DeserializeOwned>(text: &[u8], open: &[&str]) -> bool {
    let Ok(value) = serde_json::from_slice::<T>(text) else { return false };
    let written = serde_json::to_vec(&value).unwrap();
    let again: T = serde_json::from_slice(&written).expect("what was written is read");
    assert_eq!(serde_json::to_vec(&again).unwrap(), written, "and says the same");
    let accepts = |text: &[u8]| serde_json::from_slice::<T>(text).is_ok();
    assert!(!accepts(&[&written, &b"{}"[..]].concat()), "trailing data");

    let mut starts = Vec::new();
    let whole: Value = serde_json::from_slice(&written).unwrap();
    find_objects(&whole, open, &mut Vec::new(), &mut starts);
    for path in starts.iter().take(OBJECTS) {
        let unknown = with_unknown(&whole, path);
        assert!(!accepts(unknown.as_bytes()), "an unknown field in {path:?}: {unknown}");
        if let Some(duplicate) = with_duplicate(&whole, path) {
            assert!(!accepts(duplicate.as_bytes()), "a duplicate field in {path:?}: {duplicate}");
        }
    }
    true
}

/// Fields of an object, in JSON: their names, and their written values.
type Fields = [(String, String)];

/// Where the objects are, each as the path to it.
fn find_objects(value: &Value, open: &[&str], path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(fields) => {
            found.push(path.clone());
            for (name, value) in fields.iter().filter(|(name, _)| !open.contains(&name.as_str())) {
                path.push(name.clone());
                find_objects(value, open, path, found);
                path.pop();
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                path.push(index.to_string());
                find_objects(value, open, path, found);
                path.pop();
            }
        }
        _ => {}
    }
}

fn with_unknown(whole: &Value, path: &[String]) -> String {
    write(whole, path, &|fields| {
        let between = if fields.is_empty() { "" } else { "," };
        format!("{{\"no such field\":0{between}{}}}", join(fields))
    })
}

fn with_duplicate(whole: &Value, path: &[String]) -> Option<String> {
    let pointer: String =
        path.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect();
    whole.pointer(&pointer)?.as_object()?.iter().next()?;
    Some(write(whole, path, &|fields| {
        let twice: Vec<_> = fields.first().into_iter().chain(fields).cloned().collect();
        format!("{{{}}}", join(&twice))
    }))
}

fn join(fields: &Fields) -> String {
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}:{value}", Value::from(name.as_str()))).collect();
    fields.join(",")
}

/// The JSON of `value`, but that of the object at `path` as `object` makes it of its written fields.
fn write(value: &Value, path: &[String], object: &dyn Fn(&Fields) -> String) -> String {
    let inner = |name: &str, value: &Value| match path.split_first() {
        Some((first, rest)) if first == name => write(value, rest, object),
        _ => value.to_string(),
    };
    match value {
        Value::Object(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|(name, value)| (name.clone(), inner(name, value))).collect();
            if path.is_empty() { object(&fields) } else { format!("{{{}}}", join(&fields)) }
        }
        Value::Array(values) => {
            let values: Vec<_> =
                values.iter().enumerate().map(|(index, value)| inner(&index.to_string(), value)).collect();
            format!("[{}]", values.join(","))
        }
        other => other.to_string(),
    }
}
