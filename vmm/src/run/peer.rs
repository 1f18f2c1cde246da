//! `margay run --linux`: the program in a stock Linux guest on an LWK's cores and memory, to compare the LWK with.

use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use margay_protocol::{Text, frame};

use super::RunError;
use crate::control::message::{Exec, ExecPlace, Reply};
use crate::exit::Exit;
use crate::node::signals::SignalFd;
use crate::node::{NodeError, relayed};
use crate::partition::ServiceVmPlan;
use crate::relay::{self, Input, RelayError};
use crate::request::PeerRequest;
use crate::service::ServiceVm;

/// Runs the program of `request` to its end.
///
/// # Errors
/// [`RunError`], where Margay or the host failed and not the program.
pub fn execute(request: &PeerRequest) -> Result<Exit, RunError> {
    let plan = ServiceVmPlan { files: vec![request.file.path.clone()], ..request.machine.clone() };
    let vm = ServiceVm::new(plan, Vec::new());
    let signals = SignalFd::for_relay().map_err(NodeError::system("take signals"))?;
    vm.boot(Some(signals.as_raw_fd())).map_err(NodeError::Service)?;
    let (here, there) = UnixStream::pair().map_err(RelayError::Streams)?;
    let args = request.args.iter().skip(1).map(Text::from);
    let exec = Exec {
        place: ExecPlace::Service,
        args: [Text::from(&request.file.path)].into_iter().chain(args).collect(),
        ..Exec::from_here()
    };
    let ended = std::thread::scope(|scope| {
        let (vm, exec) = (&vm, &exec);
        scope.spawn(move || {
            let reply = relayed::run_in_linux(vm, &there, exec).unwrap_or_else(|error| {
                Reply::Refused { message: error.to_string(), hint: None, status: 125 }
            });
            // The other side is gone only if it has failed, and says so itself.
            let _ = frame::write(&there, &reply);
        });
        let ended = relay::forward_signals(signals, &here)
            .map_err(RelayError::Streams)
            .and_then(|()| relay::begin(&here, Input::Standard));
        // Ends the program if it has not ended.
        let _ = here.shutdown(Shutdown::Both);
        ended
    });
    vm.down();
    let (report, status) = ended?;
    eprint!("{report}");
    Ok(if status == 0 { Exit::Success } else { Exit::Status(status) })
}
