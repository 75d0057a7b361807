//! Every message is there in both languages, with the same values.

use warifu_texts::{Language, Texts, outline};
use warifu_token_agent::texts::{AGENT, AgentTexts as _};

const AGENT_WIRE: &str = include_str!("../../../api/src/wire/agent.rs");
const ERROR_CODES: &str = include_str!("../../../api/src/error.rs");

/// The variants of an enum, in kebab case, with their fields.
fn variants(source: &str, name: &str) -> Vec<(String, Vec<String>)> {
    let body = source.split_once(&format!("pub enum {name} {{\n")).unwrap().1.split_once("\n}\n").unwrap().0;
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for line in body.lines() {
        let text = line.trim();
        if line.starts_with("        ") {
            if let Some((field, _)) = text.split_once(": ").filter(|_| !text.starts_with("//")) {
                found.last_mut().unwrap().1.push(field.to_owned());
            }
        } else if text.starts_with(|c: char| c.is_ascii_uppercase()) {
            let name: String = text.chars().take_while(char::is_ascii_alphanumeric).collect();
            let mut kebab = String::new();
            for (index, c) in name.chars().enumerate() {
                if c.is_ascii_uppercase() && index > 0 {
                    kebab.push('-');
                }
                kebab.push(c.to_ascii_lowercase());
            }
            found.push((kebab, Vec::new()));
        }
    }
    assert!(found.len() > 5, "{name}");
    found
}

#[test]
fn both_languages_have_the_same_messages_with_the_same_values() {
    assert_eq!(outline(AGENT.ja), outline(AGENT.en));
    for language in [Language::Japanese, Language::English] {
        Texts::load(language, &[AGENT]).unwrap();
    }
}

#[test]
fn every_fault_code_and_state_says_what_happened_and_what_to_do() {
    let outline = outline(AGENT.ja);
    let mut wanted = Vec::new();
    wanted.extend(
        variants(AGENT_WIRE, "AgentFault").into_iter().map(|(id, values)| (format!("fault-{id}"), values)),
    );
    wanted.extend(
        variants(AGENT_WIRE, "AgentState").into_iter().map(|(id, values)| (format!("state-{id}"), values)),
    );
    wanted.extend(
        variants(ERROR_CODES, "ErrorCode").into_iter().map(|(id, _)| (format!("code-{id}"), Vec::new())),
    );
    for (id, values) in wanted {
        let used = outline.get(&id).unwrap_or_else(|| panic!("{id} has no message"));
        assert!(outline.contains_key(&format!("{id}.remedy")), "{id} has no remedy");
        for value in used {
            // Computed from `lease_left_ms`.
            assert!(
                values.contains(value) || value == "lease_minutes",
                "{id} uses {value}, which it is not given"
            );
        }
        // What is at fault and how often may be tried is never left out.
        for value in values.iter().filter(|value| ["why", "tries_left", "code"].contains(&value.as_str())) {
            assert!(used.contains(value), "{id} does not say {value}");
        }
    }
}

/// Programs depend on the names of a doctor's findings, so the page lists them all.
#[test]
fn every_finding_of_the_doctor_is_on_its_page() {
    let page = include_str!("../../../docs/operations/doctor.md");
    let named: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .flat_map(|line| line.split('`').skip(3).step_by(2))
        .collect();
    let outline = outline(AGENT.ja);
    let findings = outline.keys().filter_map(|id| id.strip_prefix("doctor-")).filter(|id| !id.contains('.'));
    let missing: Vec<&str> = findings.clone().filter(|id| !named.contains(id)).collect();
    assert_eq!(missing, Vec::<&str>::new());
    let stale: Vec<&&str> =
        named.iter().filter(|id| !outline.contains_key(&format!("doctor-{id}"))).collect();
    assert_eq!(stale, Vec::<&&str>::new());
}

#[test]
fn faults_read_well() {
    use warifu_api::ErrorCode;
    use warifu_api::wire::agent::AgentFault;
    let texts = Texts::load(Language::Japanese, &[AGENT]).unwrap();
    let text = texts.fault(&AgentFault::PinWrong { tries_left: 2 });
    assert_eq!(text.what, "暗証番号が違います。あと 2 回入力できます。");
    let text = texts.fault(&AgentFault::SiteRefused { code: ErrorCode::ContractOver });
    assert_eq!(text.what, "契約が終わっています。");
    let fault = AgentFault::AuthorityRefused { code: ErrorCode::Forbidden, message: "no".to_owned() };
    assert!(texts.fault(&fault).what.contains("許されていません"));
}
