//! An HSM that goes away: nothing is signed, and the ca goes on by itself when it is back.

use std::path::PathBuf;

use warifu_broken_parts::PullableHsm;

use crate::fixture::{enrol, grant, grant_id, id, site, unit};
use crate::kms::Kms;
use crate::stage::{in_a_process, keys, serve_until};

in_a_process!(
    in warifu_broken_parts::Place { pullable: true, disk_kib: None };
    without_its_hsm_the_ca_issues_nothing_and_goes_on_when_it_is_back,
);

async fn without_its_hsm_the_ca_issues_nothing_and_goes_on_when_it_is_back(folder: PathBuf) {
    let hsm = PullableHsm::build(&folder).unwrap();
    let kms = Kms::founded(&keys(&folder)).await;
    kms.ordered([site("main"), site("branch"), unit("tax"), enrol("hanako")]);
    let story = async {
        kms.until(|kms| kms.state().unit(&id("tax")).is_some_and(|unit| unit.key.is_some())).await;
        let logins = hsm.logins();
        hsm.pull().unwrap();
        let facts = kms.facts().len();
        kms.ordered([grant("hanako", "tax"), unit("welfare")]);
        // It tries again and again, and comes no further.
        while hsm.missed() < 20 {
            tokio::task::yield_now().await;
        }
        assert!(kms.shares().is_empty(), "d has left");
        assert_eq!(kms.facts().len(), facts, "a fact was signed");
        assert_eq!(hsm.logins(), logins, "a PIN was shown to nobody");

        hsm.put_back().unwrap();
        let done = |kms: &Kms| {
            let state = kms.state();
            state.grant(&grant_id("hanako", "tax")).is_some_and(|grant| grant.issued.is_some())
                && state.unit(&id("welfare")).is_some_and(|unit| unit.key.is_some())
        };
        kms.until(done).await;
        assert_eq!(hsm.logins(), logins + 1, "one login, when it was back");
    };
    serve_until(&folder, &kms, story).await;
}
