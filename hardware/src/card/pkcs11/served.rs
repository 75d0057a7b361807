//! `warifu-card-module` itself: it loads the module and does what it is asked, one thing at a time.

use std::fs::File;
use std::io::{self, BufReader};
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;

use cryptoki::context::Pkcs11;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getpid, kill_process, set_dumpable_behavior, setrlimit,
};

use super::super::ShareSlot;
use super::layout::Place;
use super::token::{Token, tokens};
use super::wire::{
    Answer, Der, Fault, Request, ShareInSlot, read_frame, read_request, to_frame, write_frame,
};
use crate::hsm::WrappedShare;
use crate::hsm::module::context;

/// The whole program: answers requests on standard input until that ends.
pub fn serve() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever started this program sees that it has ended, and nobody reads more.
        Err(_) => ExitCode::FAILURE,
    }
}

fn run() -> io::Result<()> {
    // PINs are in this memory: neither cores nor debuggers.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let mut answers = File::from(rustix::io::dup(rustix::stdio::stdout())?);
    // Modules print what they like: not into the answers.
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;

    let (asked, requests) = sync_channel(1);
    std::thread::spawn(move || {
        let mut input = BufReader::new(io::stdin());
        while let Ok(Some(frame)) = read_frame(&mut input) {
            if asked.send(frame).is_err() {
                break;
            }
        }
        // Whoever started this program has gone. The module may be hanging, and its end may hang as well: ended like this,
        // the reader service resets the card.
        let _ = kill_process(getpid(), Signal::KILL);
    });
    let mut served = Served { context: None, token: None };
    for frame in requests {
        let answer = match read_request(&frame) {
            Some(request) => served.answer(request).unwrap_or_else(|fault| Answer::Fault { fault }),
            None => Answer::Fault { fault: Fault::Malformed {} },
        };
        drop(frame);
        write_frame(&mut answers, &to_frame(&answer)?)?;
    }
    Ok(())
}

struct Served {
    context: Option<Pkcs11>,
    token: Option<Token>,
}

impl Served {
    fn context(&self) -> Result<&Pkcs11, Fault> {
        self.context.as_ref().ok_or(Fault::ModuleUnusable {})
    }

    fn answer(&mut self, request: Request) -> Result<Answer, Fault> {
        match request {
            Request::Load { module } => {
                self.context = Some(context(&module).map_err(|_| Fault::ModuleUnusable {})?);
                Ok(Answer::Done {})
            }
            Request::Tokens {} => Ok(Answer::Tokens { tokens: tokens(self.context()?)? }),
            Request::Open { reader, label } => {
                let token = Token::open(self.context()?, &reader, label.as_deref())?;
                let answer = token.describe()?;
                self.token = Some(token);
                Ok(answer)
            }
            other => {
                let token = self.token.as_mut().ok_or(Fault::NoCard {})?;
                answer(token, other).map_err(|fault| token.explain(fault))
            }
        }
    }
}

fn answer(token: &mut Token, request: Request) -> Result<Answer, Fault> {
    let done = |()| Answer::Done {};
    match request {
        Request::Load { .. } | Request::Tokens {} | Request::Open { .. } => Err(Fault::Malformed {}),
        Request::Present {} => Ok(Answer::Present { present: token.is_present() }),
        Request::Tries {} => Ok(Answer::Tries { left: token.tries()? }),
        Request::Verify { entry } => token.verify(&entry).map(done),
        Request::ChangePin { old, new } => token.change_pin(&old, &new).map(done),
        Request::PublicKey { role } => Ok(Answer::Point { point: token.public_key(role.into())? }),
        Request::Sign { role, digest, entry } => {
            Ok(Answer::Signature { signature: token.sign(role.into(), &digest, entry.as_ref())? })
        }
        Request::Agree { key, point } => {
            let place = key.place().ok_or(Fault::Malformed {})?;
            Ok(Answer::Agreed { x: token.agree(place, &point)? })
        }
        Request::Certificate { role } => {
            let certificate = token.certificate(Place::Role(role.into()))?.map(Der);
            Ok(Answer::Certificate { certificate })
        }
        Request::Shares {} => {
            let shares = token
                .shares()?
                .into_iter()
                .map(|(slot, certificate)| ShareInSlot { slot: slot.index(), certificate: Der(certificate) });
            Ok(Answer::Shares { shares: shares.collect() })
        }
        Request::Generate { role } => Ok(Answer::Point { point: token.generate(role.into())? }),
        Request::WriteCertificate { role, certificate } => {
            token.write_certificate(Place::Role(role.into()), &certificate).map(done)
        }
        Request::UnwrapShare { slot, wrapped, expected, certificate } => {
            let slot = ShareSlot::new(slot).ok_or(Fault::Malformed {})?;
            let wrapped = WrappedShare::from_bytes(&wrapped).map_err(|_| Fault::ShareRefused {})?;
            token.unwrap_share(slot, &wrapped, &expected, &certificate).map(done)
        }
        Request::DeleteShare { slot } => {
            let slot = ShareSlot::new(slot).ok_or(Fault::Malformed {})?;
            token.destroy(Place::Share(slot)).map(done)
        }
    }
}
