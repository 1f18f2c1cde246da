//! Between a node and the proxy of a program, on the proxy's control connection. On the host that is the connection which the command
//! made before it became the proxy; in a service VM its other end is the agent's, which passes everything on
//! ([`Order::Proxy`](crate::agent::Order::Proxy), [`Event::Proxy`](crate::agent::Event::Proxy)).

use serde::{Deserialize, Serialize};

/// Node to proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToProxy {
    /// The LWK is gone. Print `message`, exit with `status`.
    End {
        /// Why, in whole lines.
        message: String,
        /// The proxy's exit status.
        status: u8,
    },
    /// The answer to [`FromProxy::Where`], in whole lines.
    Report {
        /// Registers, backtrace, last calls.
        text: String,
    },
}

/// Proxy to node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromProxy {
    /// Where is the program? Asked for before it ends by a signal that calls for a report.
    Where,
}
