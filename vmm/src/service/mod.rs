//! The service VM: a stock Linux guest whose agent starts the programs' stand-ins.
//!
//! One thread, the *monitor*, looks after it: it asks the agent for a sign of life every second, and notices its end. When the
//! VM ends, all connections to it end, so that everybody who depends on it learns of it by himself.

mod agent;
mod boot;

use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use margay_protocol::agent::Hello;
use thiserror::Error;

use crate::linux::virtio::{BlockError, MacError, NetError, VsockHost};
use crate::linux::{Console, LinuxEnd, LinuxError, LinuxVm};
use crate::memory::GuestMemory;
use crate::node::poll;
use crate::node::status::ServiceState;
use crate::partition::ServiceVmPlan;

use agent::Heartbeat;

/// Lines of the console that an error shows.
const CONSOLE_LINES: usize = 20;
/// Time between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Silence after which the VM counts as hung.
const HUNG_AFTER: Duration = Duration::from_secs(10);
/// How long a VM that was told to switch itself off may take.
const POWER_OFF_LIMIT: Duration = Duration::from_secs(5);

/// Why there is no service VM.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// `/dev/kvm` cannot be opened.
    #[error("cannot open /dev/kvm: {0}; `margay host` says what is missing and how to get it")]
    Kvm(#[source] kvm_ioctls::Error),
    /// The machine.
    #[error("cannot start the service VM: {0}")]
    Machine(#[from] LinuxError),
    /// Its disk.
    #[error("the service VM's disk: {0}")]
    Disk(#[from] BlockError),
    /// Its network.
    #[error("the service VM's network: {0}")]
    Net(#[from] NetError),
    /// Its network address.
    #[error("the service VM's network: {0}")]
    Mac(#[from] MacError),
    /// A file that it is to have.
    #[error("cannot give {} to the service VM: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Threads, descriptors.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// It did not come up in time.
    #[error(
        "the service VM has booted for {} s and its agent does not answer; its kernel may lack ACPI, virtio over PCI or vsock, or \
         its initramfs the agent (raise boot_s if it is only slow). Its console's last lines:\n{console}",
        limit.as_secs()
    )]
    Deadline {
        /// How long it had.
        limit: Duration,
        /// The console's last lines.
        console: String,
    },
    /// It ended.
    #[error("{how}. Its console's last lines:\n{console}")]
    Ended {
        /// How.
        how: String,
        /// The console's last lines.
        console: String,
    },
    /// A signal came while it booted.
    #[error("interrupted while the service VM booted")]
    Interrupted,
    /// It is not there now.
    #[error("the service VM is not there: {0}; `margay restart service` boots it anew")]
    Gone(String),
}

impl ServiceError {
    fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> ServiceError {
        move |source| ServiceError::System { what, source }
    }
}

/// A service VM, or the place of one that has failed.
#[derive(Debug)]
pub struct ServiceVm {
    plan: ServiceVmPlan,
    shared: Vec<Arc<GuestMemory>>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Booting,
    Up(Box<Up>),
    Failed(Failure),
    /// Taken down on purpose.
    Down,
}

/// What is left of a VM.
#[derive(Debug)]
struct Failure {
    /// Why, in one line or with the console's last ones.
    reason: String,
    /// Its console, if it had got so far that it has one.
    console: Option<Arc<Console>>,
}

struct Up {
    vm: LinuxVm,
    host: VsockHost,
    /// Which boot this is.
    boot: u64,
    alive: SystemTime,
    silent: bool,
}

impl std::fmt::Debug for Up {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Up").field("boot", &self.boot).field("alive", &self.alive).finish()
    }
}

/// A VM that has booted and whose agent answers.
struct Booted {
    vm: LinuxVm,
    host: VsockHost,
    control: UnixStream,
}

impl ServiceVm {
    /// A service VM that shares `shared` and is not booted yet.
    pub fn new(plan: ServiceVmPlan, shared: Vec<Arc<GuestMemory>>) -> Arc<ServiceVm> {
        Arc::new(ServiceVm { plan, shared, state: Mutex::new(State::Booting) })
    }

    /// What it is made from.
    pub fn plan(&self) -> &ServiceVmPlan {
        &self.plan
    }

    /// Boots it, or boots it anew, unless `interrupt` becomes readable meanwhile. Returns how long that took, to the agent's first
    /// answer.
    ///
    /// # Errors
    /// [`ServiceError`]; then nothing is left of it.
    pub fn boot(self: &Arc<Self>, interrupt: Option<RawFd>) -> Result<Duration, ServiceError> {
        let start = Instant::now();
        let old = std::mem::replace(&mut *self.lock(), State::Booting);
        drop(old);
        let booted = boot::boot(&self.plan, &self.shared, interrupt).inspect_err(|error| {
            *self.lock() = State::Failed(Failure { reason: error.to_string(), console: None });
        })?;
        let Booted { vm, host, control } = booted;
        let boot = start.elapsed().as_nanos() as u64;
        let (alive, silent) = (SystemTime::now(), false);
        let ended = vm.ended().try_clone().map_err(ServiceError::system("copy an eventfd"))?;
        *self.lock() = State::Up(Box::new(Up { vm, host, boot, alive, silent }));
        let this = Arc::clone(self);
        std::thread::Builder::new()
            .name("service-monitor".to_owned())
            .spawn(move || this.monitor(boot, &ended, Heartbeat::new(control)))
            .map_err(ServiceError::system("start a thread"))?;
        Ok(start.elapsed())
    }

    /// Connects to the agent, and says what for.
    ///
    /// # Errors
    /// [`ServiceError::Gone`]
    pub fn connect(&self, hello: &Hello) -> Result<UnixStream, ServiceError> {
        let host = match &*self.lock() {
            State::Up(up) => up.host.clone(),
            other => return Err(ServiceError::Gone(other.describe())),
        };
        agent::connect(&host, hello).map_err(|error| ServiceError::Gone(error.to_string()))
    }

    /// Guest-physical address in this VM of the `index`th shared memory.
    ///
    /// # Errors
    /// [`ServiceError::Gone`]
    pub fn shared_address(&self, index: usize) -> Result<u64, ServiceError> {
        match &*self.lock() {
            State::Up(up) => Ok(up.vm.shared_addresses()[index]),
            other => Err(ServiceError::Gone(other.describe())),
        }
    }

    /// Its console, if it has come up; also afterwards.
    pub fn console(&self) -> Option<Arc<Console>> {
        match &*self.lock() {
            State::Up(up) => Some(up.vm.console()),
            State::Failed(failure) => failure.console.clone(),
            State::Booting | State::Down => None,
        }
    }

    /// The error of those who need it and do not find it.
    pub fn gone(&self) -> ServiceError {
        ServiceError::Gone(self.lock().describe())
    }

    /// What to tell the user of a program whose connection has ended, in whole lines.
    pub fn obituary(&self) -> String {
        /// The monitor may learn of the end after the connections.
        const PATIENCE: Duration = Duration::from_secs(2);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match &*self.lock() {
                State::Failed(Failure { reason, .. }) => {
                    return format!(
                        "margay: the service VM has ended, and the program with it: {reason}\n"
                    );
                }
                State::Up(_) if Instant::now() < deadline => {}
                _ => break,
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        "margay: the connection to the service VM has ended, and the program with it\n".to_owned()
    }

    /// What it is at.
    pub fn state(&self) -> ServiceState {
        match &*self.lock() {
            State::Booting => ServiceState::Booting,
            State::Up(up) if up.silent => ServiceState::Hung {
                silent_since: up.alive,
                place: agent::describe(&up.vm.locate()),
            },
            State::Up(_) => ServiceState::Running,
            State::Failed(failure) => ServiceState::Failed { reason: failure.reason.clone() },
            State::Down => ServiceState::Failed { reason: "it was taken down".to_owned() },
        }
    }

    /// Has it switch itself off, so that nothing unwritten is lost; stops it where it does not.
    pub fn down(&self) {
        let State::Up(up) = std::mem::replace(&mut *self.lock(), State::Down) else { return };
        // The connection stays open until the agent has read the order.
        if let Ok(_connection) = agent::power_off(&up.host) {
            poll::readable(&[up.vm.ended().as_raw_fd()], POWER_OFF_LIMIT);
        }
    }

    /// Looks after boot number `boot` until its end.
    fn monitor(&self, boot: u64, ended: &impl AsRawFd, mut heart: Heartbeat) {
        loop {
            let over = !poll::readable(&[ended.as_raw_fd()], HEARTBEAT).is_empty();
            let beat = heart.beat();
            let mut state = self.lock();
            let State::Up(up) = &mut *state else { return };
            if up.boot != boot {
                return;
            }
            if over {
                let console = up.vm.console();
                let how = match up.vm.end() {
                    Some(LinuxEnd::PoweredOff) => "it switched itself off".to_owned(),
                    Some(LinuxEnd::Reset) => boot::panic_line(&console)
                        .map_or("it rebooted".to_owned(), |line| format!("it panicked: {line}")),
                    Some(LinuxEnd::Failed(how)) => how,
                    Some(LinuxEnd::Stopped) | None => "it was stopped".to_owned(),
                };
                let reason = format!("{how} (`margay log service` has its console)");
                let failure = Failure { reason, console: Some(console) };
                // Dropping the machine ends all connections to it; without the lock, since it takes time.
                let old = std::mem::replace(&mut *state, State::Failed(failure));
                drop(state);
                drop(old);
                return;
            }
            match beat {
                true => (up.alive, up.silent) = (SystemTime::now(), false),
                false => up.silent = up.alive.elapsed().is_ok_and(|silence| silence > HUNG_AFTER),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn describe(&self) -> String {
        match self {
            State::Booting => "it boots".to_owned(),
            State::Up(_) => "it is up".to_owned(),
            State::Failed(failure) => failure.reason.clone(),
            State::Down => "it was taken down".to_owned(),
        }
    }
}
