//! Runs every file below FOLDER/TARGET through its target, for coverage and after a finding: `replay FOLDER...`.

use std::path::PathBuf;

use fuzz::meter::{self, Meter};

#[global_allocator]
static METER: Meter = Meter;

fn main() -> std::io::Result<()> {
    let folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let mut inputs = 0;
    for target in fuzz::targets::ALL {
        for folder in &folders {
            let Ok(files) = std::fs::read_dir(folder.join(target.name)) else {
                continue;
            };
            for file in files {
                let path = file?.path();
                // A finding names its file.
                std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("\r{}\x1b[K", path.display()))?;
                meter::within(&std::fs::read(path)?, target.extra, target.run);
                inputs += 1;
            }
        }
    }
    println!("\r\x1b[K{inputs} inputs of {} targets", fuzz::targets::ALL.len());
    Ok(())
}
