//! Counts words: a Rust program with its standard library, hash map, sorting and files. A static PIE.

use std::{
    collections::HashMap,
    fs,
    io::{self, Read},
};

fn main() -> io::Result<()> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for word in text.split_whitespace() {
        *counts.entry(word).or_default() += 1;
    }
    let mut sorted: Vec<_> = counts.into_iter().collect();
    sorted.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let lines: Vec<String> = sorted.iter().map(|(word, n)| format!("{n:6} {word}\n")).collect();
    fs::write("words.out", lines.concat())?;
    print!("{}", lines.iter().take(10).map(String::as_str).collect::<String>());
    match fs::read_to_string("no-such-file") {
        Ok(_) => println!("found what is not there"),
        Err(error) => println!("{error}"),
    }
    std::process::exit(i32::try_from(sorted.len() % 100).unwrap_or(0))
}
