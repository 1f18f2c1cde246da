//! Programs from ordinary compilers behave as on the host.

use std::time::{SystemTime, UNIX_EPOCH};

use margay_tests::{Case, Mode, program};

/// The C libraries and link modes that a test program is built with.
const C_BUILDS: [&str; 3] = ["glibc", "musl", "pie"];

fn each_build(stem: &str, case: impl Fn(Case) -> Case) {
    for build in C_BUILDS {
        case(Case::new(program(&format!("{stem}.{build}")))).assert_same_as_host();
    }
}

#[test]
fn arguments_environment_and_cwd_arrive() {
    each_build("args", |case| {
        case.args(["", "two words", "*", "\u{e9}\n"]).env("MARGAY_TEST", "a=b c").env("EMPTY", "")
    });
}

#[test]
fn many_and_long_arguments_arrive() {
    let args: Vec<String> = (0..2000).map(|i| format!("argument number {i}")).collect();
    let case = Case::new(program("args.musl")).args(args).env("LONG", &"x".repeat(100_000));
    case.assert_same_as_host();
}

#[test]
fn memory_calls_do_as_linux_does() {
    each_build("memory", |case| case.memory("128M"));
}

#[test]
fn file_calls_do_as_linux_does() {
    each_build("files", |case| case);
}

#[test]
fn bad_pointers_are_efault() {
    each_build("efault", |case| case);
}

#[test]
fn every_kind_of_call_site_keeps_registers_and_red_zone() {
    each_build("syscalls", |case| case);
}

#[test]
fn floating_point_gives_the_same_bits() {
    each_build("floats", |case| case);
}

#[test]
fn fortran_runs() {
    let case = Case::new(program("heat.fortran"));
    case.clone().stdin("40 200 plate\n").assert_same_as_host();
    case.stdin("not a number\n").assert_same_as_host();
}

#[test]
fn rust_runs() {
    let text = include_str!("../programs/memory.c").repeat(20);
    Case::new(program("words.rust")).stdin(text).assert_same_as_host();
}

#[test]
fn go_says_that_it_needs_threads() {
    for mode in Mode::all() {
        let outcome = Case::new(program("hello.go")).run(&mode);
        assert_ne!(outcome.status, 0, "{outcome:?}");
        assert!(outcome.stderr_text().contains("thread"), "{outcome:?}");
    }
}

#[test]
fn what_is_missing_is_refused_with_linux_errors() {
    for mode in Mode::all() {
        let outcome = Case::new(program("missing.musl")).run(&mode);
        assert_eq!(
            outcome.stdout_text(),
            "thread: refused\n\
             fork: -1 Function not implemented\n\
             execve: -1 Function not implemented\n\
             ptrace: -1 Operation not permitted\n\
             iopl: -1 Operation not permitted\n"
        );
        assert_eq!(outcome.status, 0);
    }
}

#[test]
fn clocks_agree_and_are_right() {
    for build in C_BUILDS {
        let case = Case::new(program(&format!("clocks.{build}")));
        let host = case.run_on_host();
        for mode in Mode::all() {
            let outcome = case.run(&mode);
            assert_eq!(outcome.stdout_text(), host.stdout_text(), "{mode}");
            let seen: u64 =
                outcome.stderr_text().trim().parse().expect("the program prints seconds");
            let now =
                SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
            assert!(now - 15 <= seen && seen <= now + 1, "{mode}: {seen} at {now}");
        }
    }
}

#[test]
fn out_of_memory_is_enomem() {
    for build in C_BUILDS {
        for mode in Mode::all() {
            let outcome =
                Case::new(program(&format!("out_of_memory.{build}"))).memory("64M").run(&mode);
            let want = "Cannot allocate memory\nthen there is memory again: 1\n";
            let musl = "Out of memory\nthen there is memory again: 1\n";
            assert!([want, musl].contains(&&*outcome.stdout_text()), "{mode}: {outcome:?}");
            let got: u32 = outcome.stderr_text().trim_end_matches(" MiB\n").parse().unwrap_or(0);
            assert!((24..64).contains(&got), "{mode}: {outcome:?}");
        }
    }
}
