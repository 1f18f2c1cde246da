//! What the proxy's maker can tell it, and how it learns that the maker is gone.

#[expect(dead_code, reason = "the other tests use the rest")]
mod common;

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;
use std::time::{Duration, Instant};

use libc::{EBADF, SIGQUIT, SYS_close, SYS_close_range, SYS_getppid};
use margay_abi::calls::private;
use margay_protocol::frame;
use margay_protocol::proxy::{FromProxy, ToProxy};

use common::{Doorbell, Lwk};

/// Where the proxy finds its end.
const CONTROL: i32 = 690;
/// So long that no test sees the proxy asleep on its doorbell.
const LONG_SPIN_US: u32 = 60_000_000;

/// A proxy that polls for `spin_us`, and the maker's end of its control connection.
fn start(spin_us: u32, doorbell: Doorbell) -> (Lwk, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let lwk = Lwk::start_on(spin_us, doorbell, |command| pass(command, &theirs));
    (lwk, ours)
}

fn pass(command: &mut Command, control: &UnixStream) {
    command.args(["--control", &CONTROL.to_string()]);
    let fd = control.as_raw_fd();
    // SAFETY: one async-signal-safe call.
    unsafe {
        command.pre_exec(move || match libc::dup2(fd, CONTROL) {
            ..0 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
}

fn signal(lwk: &Lwk, signal: i32) {
    // SAFETY: signals the child of this test.
    assert_eq!(unsafe { libc::kill(lwk.pid() as i32, signal) }, 0);
}

fn report(text: &str) -> ToProxy {
    ToProxy::Report { text: text.to_owned() }
}

#[test]
fn the_node_ends_a_proxy_whatever_it_does() {
    for spin_us in [0, LONG_SPIN_US] {
        let (mut lwk, control) = start(spin_us, Doorbell::Eventfds);
        assert!(lwk.call(SYS_getppid, &[]) > 0);
        let message = "margay: LWK lwk0 was restarted\n  help: start again\n".to_owned();
        frame::write(&control, &ToProxy::End { message: message.clone(), status: 7 }).unwrap();
        let (status, stderr) = lwk.end();
        assert_eq!((status.code(), stderr), (Some(7), message));
    }
    // In a call that lasts for ever.
    let (mut lwk, control) = start(0, Doorbell::Eventfds);
    lwk.submit(libc::SYS_poll, &[0, 0, u64::MAX]);
    frame::write(&control, &ToProxy::End { message: "end".to_owned(), status: 125 }).unwrap();
    assert_eq!(lwk.end().0.code(), Some(125));
}

#[test]
fn the_end_of_the_node_is_the_end_of_the_proxy() {
    let (mut lwk, control) = start(LONG_SPIN_US, Doorbell::Eventfds);
    drop(control);
    ends_with(&mut lwk, "the node is gone");
    let (mut lwk, mut control) = start(LONG_SPIN_US, Doorbell::Eventfds);
    control.write_all(b"\x02\0\0\0no").unwrap();
    ends_with(&mut lwk, "cannot be understood");
}

#[test]
fn a_doorbell_may_be_a_socket() {
    let (mut lwk, _control) = start(0, Doorbell::Socket);
    lwk.map_data();
    for _ in 0..50 {
        lwk.await_sleep();
        assert!(lwk.submit(SYS_getppid, &[]), "a sleeper must be rung");
        assert!(lwk.reply().ret > 0);
    }
    // In pieces, and more than one ring at a time.
    lwk.await_sleep();
    lwk.kick.write_all(&[1; 3]).unwrap();
    lwk.kick.write_all(&[1; 60]).unwrap();
    assert!(lwk.call(SYS_getppid, &[]) > 0);
    // The other way.
    lwk.submit(libc::SYS_poll, &[common::DATA, 0, 50]);
    assert!(!lwk.driver.arm());
    std::io::Read::read_exact(&mut lwk.wake, &mut [0; 8]).unwrap();
    assert_eq!(lwk.driver.poll().unwrap().ret, 0);
}

#[test]
fn a_dead_doorbell_ends_the_proxy_and_the_node_may_say_why() {
    let hang_up = |lwk: &Lwk| {
        // SAFETY: takes integers; the socket is the test's.
        assert_eq!(unsafe { libc::shutdown(lwk.kick.as_raw_fd(), libc::SHUT_RDWR) }, 0);
    };
    let (mut lwk, control) = start(0, Doorbell::Socket);
    lwk.await_sleep();
    hang_up(&lwk);
    frame::write(&control, &ToProxy::End { message: "restarted".to_owned(), status: 9 }).unwrap();
    let (status, stderr) = lwk.end();
    assert_eq!((status.code(), stderr.as_str()), (Some(9), "restarted\n"));

    let (mut lwk, _control) = start(0, Doorbell::Socket);
    lwk.await_sleep();
    hang_up(&lwk);
    ends_with(&mut lwk, "other end of the doorbell");
    // With the driver asleep, it is the proxy's wake-up that finds it.
    let mut lwk = Lwk::start_on(LONG_SPIN_US, Doorbell::Socket, |_| {});
    lwk.submit(libc::SYS_poll, &[0, 0, 200]);
    assert!(!lwk.driver.arm());
    hang_up(&lwk);
    ends_with(&mut lwk, "other end of the doorbell");
}

#[test]
fn before_it_dies_of_sigquit_it_says_where_the_program_is() {
    let (mut lwk, control) = start(LONG_SPIN_US, Doorbell::Eventfds);
    assert!(lwk.call(SYS_getppid, &[]) > 0);
    signal(&lwk, SIGQUIT);
    assert_eq!(frame::read::<FromProxy>(&control).unwrap(), FromProxy::Where);
    frame::write(&control, &report("rip 0x400000\n")).unwrap();
    let (status, stderr) = lwk.end();
    assert_eq!((status.signal(), stderr.as_str()), (Some(SIGQUIT), "rip 0x400000\n"));

    let (mut lwk, _silent) = start(0, Doorbell::Eventfds);
    assert!(lwk.call(SYS_getppid, &[]) > 0);
    let asked = Instant::now();
    signal(&lwk, SIGQUIT);
    assert_eq!(lwk.end().0.signal(), Some(SIGQUIT));
    assert!(asked.elapsed() < Duration::from_secs(5), "a node that does not answer");

    let (mut lwk, _control) = start(0, Doorbell::Eventfds);
    lwk.submit(private::DIE.into(), &[SIGQUIT as u64]);
    assert_eq!(lwk.end().0.signal(), Some(SIGQUIT), "the program's own wish");
}

#[test]
fn an_ignored_sigquit_asks_nothing() {
    let (mut lwk, control) = start(0, Doorbell::Eventfds);
    assert_eq!(lwk.call(private::SET_IGNORED.into(), &[SIGQUIT as u64, 1]), 0);
    signal(&lwk, SIGQUIT);
    // An answer that nobody asked for is nothing either.
    frame::write(&control, &report("")).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(lwk.call(SYS_getppid, &[]) > 0);
    control.set_nonblocking(true).unwrap();
    assert!(frame::read::<FromProxy>(&control).is_err(), "no question");
    frame::write(&control, &ToProxy::End { message: String::new(), status: 3 }).unwrap();
    assert_eq!(lwk.end().0.code(), Some(3));
}

#[test]
fn the_control_connection_is_out_of_the_programs_reach() {
    let (mut lwk, control) = start(0, Doorbell::Eventfds);
    assert_eq!(lwk.call(SYS_close, &[CONTROL as u64]), -i64::from(EBADF));
    assert_eq!(lwk.call(SYS_close_range, &[3, u64::from(u32::MAX), 0]), 0);
    std::thread::sleep(Duration::from_millis(20));
    assert!(lwk.call(SYS_getppid, &[]) > 0, "or it would have ended");
    lwk.map_data();
    lwk.put(0, b"/dev/null\0");
    let open = [common::DATA, libc::O_RDONLY as u64, 0];
    assert_eq!(lwk.call(libc::SYS_open, &open), 3, "the lowest free, as the program expects");
    signal(&lwk, SIGQUIT);
    assert_eq!(frame::read::<FromProxy>(&control).unwrap(), FromProxy::Where);
}

#[test]
fn the_program_alone_holds_its_descriptors_open() {
    let (mut lwk, _control) = start(0, Doorbell::Eventfds);
    assert_eq!(lwk.call(SYS_close, &[1]), 0);
    assert_eq!(lwk.stdout(), "", "a reader sees the end, though the proxy lives");
    assert!(lwk.call(SYS_getppid, &[]) > 0);
}

/// One line, status 125.
fn ends_with(lwk: &mut Lwk, part: &str) {
    let (status, stderr) = lwk.end();
    assert_eq!(status.code(), Some(125), "{stderr}");
    assert!(stderr.starts_with("margay-proxy: ") && stderr.lines().count() == 1, "{stderr}");
    assert!(stderr.contains(part), "{stderr}");
}
