//! Makes the code of the client from the contract: `generate PROTO_FOLDER OUTPUT_FOLDER`.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1).map(PathBuf::from);
    let (protos, output) = (arguments.next().ok_or("no folder of protos")?, arguments.next().ok_or("no output")?);
    let mut files: Vec<PathBuf> = fs::read_dir(protos.join("flujo/v1"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|ending| ending == "proto"));
    files.sort();
    fs::create_dir_all(&output)?;
    let descriptors = protox::compile(files, [protos])?;
    tonic_prost_build::configure().build_server(false).out_dir(output).compile_fds(descriptors)?;
    Ok(())
}
