//! Single figures of the broker's `/metrics`.

use crate::error::Outcome;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The page as text.
pub fn page(address: &str) -> Outcome<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// The sum of a metric over all its labels; zero when nothing was counted yet.
pub fn sum(page: &str, name: &str) -> f64 {
    page.lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with([' ', '{']))
        .filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_added_up_and_longer_names_are_others() {
        let page = "# HELP a b\na{x=\"1\"} 2\na{x=\"2\"} 3\na_count 9\n";
        assert_eq!(sum(page, "a"), 5.0);
        assert_eq!(sum(page, "absent"), 0.0);
    }
}
