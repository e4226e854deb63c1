//! The players of every test: [`Gateway`] (the binary), [`Upstream`] (a server under byte control) and
//! [`Client`] (a strict HTTP/1.1 reader), with [`eventually`] as the only way to wait.

mod backend;
mod client;
mod exchange;
pub mod flood;
pub mod flow;
mod folder;
mod frames;
mod free_port;
mod gateway;
mod head;
pub mod history;
pub mod http2;
pub mod limits;
mod load;
mod port;
mod postgres;
mod redis;
mod response;
pub mod scrape;
mod status;
mod tls;
pub mod traffic;
mod upstream;
mod wait;
mod websocket;
mod wire;

pub use backend::Backend;
pub use client::{Broken, Call, Client};
pub use exchange::{Exchange, Then};
pub use folder::Folder;
pub use frames::{Frame, Opcode};
pub use gateway::{Builder, Gateway, run, run_with};
pub use head::Framing;
pub use load::Load;
pub use port::Port;
pub use postgres::Postgres;
pub use redis::{Redis, RedisCluster};
pub use response::Response;
pub use status::backend_status;
pub use tls::Authority;
pub use upstream::Upstream;
pub use wait::{Gate, SOON, eventually, holds_for};
pub use websocket::{WebSocket, echo_websocket, upgrade_request};
