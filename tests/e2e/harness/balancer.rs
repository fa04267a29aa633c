//! A load balancer in front of the account that closes every connection a few milliseconds after a response, without
//! notice.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Forwards calls to `account`; returns the balancer's URL. It closes 0 to `closes_within` after each response.
pub(crate) async fn start(account: SocketAddr, closes_within: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass_on(client, account, closes_within));
        }
    });
    url
}

/// Forwards bytes until a response has passed. The account writes a response at once, and one read here returns it.
async fn pass_on(mut client: TcpStream, account: SocketAddr, closes_within: Duration) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut upstream = TcpStream::connect(account).await?;
    let (mut call, mut answer) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut call) => match read? {
                0 => return Ok(()),
                count => upstream.write_all(&call[..count]).await?,
            },
            read = upstream.read(&mut answer) => {
                client.write_all(&answer[..read?]).await?;
                tokio::time::sleep(closes_within.mul_f64(fastrand::f64())).await;
                return Ok(());
            }
        }
    }
}
