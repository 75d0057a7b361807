//! `slip`: what was routed under a number is opened no more.

use warifu_api::ErrorCode;
use warifu_ledger::Digest;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::slip::SlipId;
use warifu_ledger::statement::{Act, Slips};

use super::{already, end_access};
use crate::args::Slip;
use crate::desk::{Book, Desk};
use crate::fault::Fault;

pub(super) async fn run(desk: &mut Desk<'_>, command: Slip) -> Result<(), Fault> {
    let Slip::Revoke { slips, number, watch } = command;
    let book = desk.book().await?;
    let unknown = || Fault::UnknownLabel { kind: "slips", label: slips.clone() };
    let digest: Digest = slips.parse().map_err(|_| unknown())?;
    // People count from one.
    let index = number.map(|number| number.checked_sub(1).ok_or_else(unknown)).transpose()?;
    let over = |index| book.state.slip_is_revoked(&SlipId { slips: digest, index });
    let found = found(desk, &book, digest).await?;
    if let (Some(slips), Some(index)) = (&found, index)
        && index >= slips.count
    {
        return Err(unknown());
    }
    let all_over = found.as_ref().is_some_and(|slips| (0..slips.count).all(over));
    if index.is_some_and(over) || all_over {
        return already(desk, "slips-revoked-already", slips);
    }
    match found {
        Some(found) => {
            let grant = book.state.grant(&found.grant);
            let card = grant.and_then(|grant| book.state.card(&grant.card));
            let values = [
                ("unit", book.unit_name(&found.unit)),
                ("name", card.map_or_else(|| "?".to_owned(), |card| book.member_name(&card.card.member))),
                ("count", found.count.to_string()),
                ("until", book.zone().instant(found.expires_at)),
            ];
            desk.screen.say_with("slips-found", &values);
        }
        None => desk.screen.say_with("slips-not-here", &[("slips", slips)]),
    }
    end_access(desk, &book, vec![Act::SlipRevoked { slips: digest, index }], Vec::new(), watch).await
}

/// What was signed under the number, if the kms has it, and it is what it says.
async fn found(desk: &Desk<'_>, book: &Book, digest: Digest) -> Result<Option<Slips>, Fault> {
    match desk.get::<Envelope>(Some(book.reader_card), &format!("/v1/slips/{digest}")).await {
        Ok(envelope) if envelope.digest() == digest => {
            book.state.read_slips(&envelope).map(Some).map_err(|why| Fault::Ledger(why.to_string()))
        }
        Ok(_) => Err(Fault::Ledger("other slips than those that were asked for".to_owned())),
        // A site may have them that has not reached the kms.
        Err(fault) if fault.code() == Some(ErrorCode::NotFound) => Ok(None),
        Err(fault) => Err(fault),
    }
}
