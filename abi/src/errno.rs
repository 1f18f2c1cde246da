//! Linux error numbers, as the x86-64 system-call interface returns them.

/// A Linux error number (`asm-generic/errno.h`). A call returns it as `-number`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($name:ident = $number:literal),* $(,)?) => {
        #[allow(missing_docs, reason = "the names are Linux's own")]
        impl Errno {
            $(pub const $name: Errno = Errno($number);)*

            /// The symbolic name, or `None` for a number that Margay never produces itself.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    EPERM = 1, ENOENT = 2, ESRCH = 3, EINTR = 4, EIO = 5, ENXIO = 6, E2BIG = 7, ENOEXEC = 8, EBADF = 9, ECHILD = 10,
    EAGAIN = 11, ENOMEM = 12, EACCES = 13, EFAULT = 14, EBUSY = 16, EEXIST = 17, ENODEV = 19, ENOTDIR = 20, EISDIR = 21,
    EINVAL = 22, EMFILE = 24, ENOTTY = 25, ESPIPE = 29, EPIPE = 32, ERANGE = 34, ENOSYS = 38, EOVERFLOW = 75,
    EOPNOTSUPP = 95, ETIMEDOUT = 110,
}

impl Errno {
    /// The value a system call returns for this error: `-number`, as an unsigned register.
    pub const fn as_return(self) -> u64 {
        -(self.0 as i64) as u64
    }

    /// The error in a system call's return value, if it is one (Linux: the last 4095 values).
    pub const fn from_return(value: u64) -> Option<Errno> {
        if value > -4096_i64 as u64 { Some(Errno(-(value as i64) as i32)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::Errno;

    #[test]
    fn a_return_value_is_an_error_only_in_the_last_page() {
        assert_eq!(Errno::from_return(Errno::EFAULT.as_return()), Some(Errno::EFAULT));
        assert_eq!(Errno::from_return(-4095_i64 as u64), Some(Errno(4095)));
        assert_eq!(Errno::from_return(-4096_i64 as u64), None);
        assert_eq!(Errno::from_return(0), None);
    }
}
