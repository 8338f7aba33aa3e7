//! Writes the first inputs of every target, made by the product's own writers: `samples FOLDER` makes FOLDER/TARGET/NUMBER.
//! Without a folder it prints each target's name and the longest input that makes sense for it.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let Some(folder) = std::env::args_os().nth(1) else {
        for target in fuzz::targets::ALL {
            println!("{} {}", target.name, target.longest);
        }
        return Ok(());
    };
    for target in fuzz::targets::ALL {
        let folder = Path::new(&folder).join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (number, sample) in (target.samples)().into_iter().enumerate() {
            std::fs::write(folder.join(format!("{number:03}")), sample)?;
        }
    }
    Ok(())
}
