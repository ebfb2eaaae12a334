//! The packages themselves: made, installed and imported as a user does.

use std::path::Path;

use super::path;
use crate::support::{Program, tools};

/// Runs it without the modules of this tree on its path.
#[track_caller]
fn alone(mut program: Program) -> String {
    for name in ["PYTHONPATH", "NODE_PATH"] {
        program = program.env(name, "");
    }
    let (code, out, error) = program.run();
    assert_eq!(code, 0, "{out}\n{error}");
    out
}

fn in_folder(program: impl AsRef<Path>, folder: &Path, args: &[&str]) -> Program {
    args.iter().fold(
        Program::new(program.as_ref().as_os_str()).dir(folder),
        |program, arg| program.arg(arg),
    )
}

#[test]
fn pip_installs_the_python_client_with_its_types() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("probe").to_str().unwrap().to_owned();
    // The build backend comes from the registry.
    let fetch = [
        "python3",
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "-d",
        &into,
        "hatchling",
    ];
    if !tools("pip install ./clients/python", &[&fetch]) {
        return;
    }
    alone(in_folder("python3", folder.path(), &["-m", "venv", "venv"]));
    let python = folder.path().join("venv/bin/python");
    let source = path("clients/python");
    let install = ["-m", "pip", "install", "-q", source.to_str().unwrap()];
    alone(in_folder(&python, folder.path(), &install));
    let show = "import importlib.metadata as m, pathlib, shardman; \
        print(m.requires('shardman'), pathlib.Path(shardman.__file__).with_name('py.typed').exists(), shardman.run)";
    let said = alone(in_folder(&python, folder.path(), &["-c", show]));
    assert!(said.starts_with("['aiohttp>=3.8'] True <function run"), "{said}");
}

#[test]
fn npm_installs_the_javascript_client_for_both_module_systems() {
    if !tools("npm install ./clients/js", &[&["npm", "--version"]]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("package.json"), "{\"private\":true}").unwrap();
    let source = path("clients/js");
    // As from a registry: what the package lacks, it lacks here too.
    let install = [
        "install",
        "--silent",
        "--offline",
        "--no-audit",
        "--no-fund",
        "--install-links",
        source.to_str().unwrap(),
    ];
    alone(in_folder("npm", folder.path(), &install));
    let common = "const s = require('shardman'); console.log(Object.keys(s).sort().join(' '))";
    let said = alone(in_folder("node", folder.path(), &["-e", common]));
    assert_eq!(said.trim(), "Lease LeaseLost Manager Refused connect login");
    let module = "import { login, connect } from 'shardman'; console.log(typeof login, typeof connect)";
    let said = alone(in_folder(
        "node",
        folder.path(),
        &["--input-type=module", "-e", module],
    ));
    assert_eq!(said.trim(), "function function");
    let types = folder.path().join("node_modules/shardman/index.d.ts");
    assert!(types.exists(), "{}", types.display());
}
