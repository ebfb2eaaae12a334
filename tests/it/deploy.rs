//! The files in `deploy/`: whatever they name of the program is there, and the
//! image's process lives in what is left of a container without its engine.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use yaml_rust2::{Yaml, YamlLoader};

use crate::support::{Program, Sim, eventually, free_port, seconds, signal, tools};

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

fn yaml(file: &str) -> Vec<Yaml> {
    YamlLoader::load_from_str(&fs::read_to_string(deploy(file)).unwrap()).unwrap()
}

fn text(value: &Yaml) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value:?} is no text"))
}

fn list(value: &Yaml) -> &[Yaml] {
    value.as_vec().unwrap_or_else(|| panic!("{value:?} is no list"))
}

fn number(value: &Yaml) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value:?} is no number"))
}

/// Each name and value of a mapping.
fn pairs(value: &Yaml) -> Vec<(&str, String)> {
    let pairs = value
        .as_hash()
        .unwrap_or_else(|| panic!("{value:?} is no mapping"))
        .iter();
    let plain = |value: &Yaml| value.as_str().map_or_else(|| format!("{value:?}"), str::to_owned);
    pairs.map(|(name, value)| (text(name), plain(value))).collect()
}

/// The value that `.env.example` gives a variable.
#[track_caller]
fn default_of(variable: &str) -> String {
    let example = include_str!("../../.env.example").lines();
    let value = example
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| *name == variable);
    value
        .unwrap_or_else(|| panic!("there is no variable {variable}"))
        .1
        .to_owned()
}

/// Whether `GET path` is one of our routes.
fn is_route(path: &str) -> bool {
    let routes: serde_json::Value = serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap();
    routes["paths"][path]["get"].is_object()
}

fn our_port() -> i64 {
    default_of("LISTEN").rsplit_once(':').unwrap().1.parse().unwrap()
}

fn stop_seconds() -> i64 {
    default_of("STOP_SECONDS").parse().unwrap()
}

/// What the last stage of the Dockerfile says.
struct Image {
    /// Instructions with their arguments, in order.
    lines: Vec<(String, String)>,
}

impl Image {
    fn read() -> Self {
        let file = fs::read_to_string(deploy("Dockerfile")).unwrap();
        let lines = file.lines().filter(|line| !line.starts_with('#'));
        let lines = lines.filter_map(|line| line.split_once(' '));
        let mut lines: Vec<_> = lines
            .map(|(word, rest)| (word.to_owned(), rest.to_owned()))
            .collect();
        let last = lines.iter().rposition(|(word, _)| word == "FROM").unwrap();
        assert!(
            lines[..last]
                .iter()
                .any(|(word, rest)| word == "FROM" && rest.ends_with(" AS build"))
        );
        Self {
            lines: lines.split_off(last),
        }
    }

    #[track_caller]
    fn one(&self, word: &str) -> &str {
        let mut found = self.lines.iter().filter(|(known, _)| known == word);
        let found = (found.next(), found.next());
        let (Some((_, rest)), None) = found else {
            panic!("{word} is there once: {found:?}")
        };
        rest
    }

    /// The words of `["a", "b"]`.
    fn command(&self, word: &str) -> Vec<String> {
        let text = self.one(word);
        serde_json::from_str(&text[text.find('[').unwrap()..]).unwrap()
    }

    fn env(&self) -> Vec<(&str, &str)> {
        let pairs = self.one("ENV").split_whitespace();
        pairs.map(|pair| pair.split_once('=').unwrap()).collect()
    }
}

#[test]
fn the_dockerfile_names_what_there_is() {
    let image = Image::read();
    for (name, _) in image.env() {
        default_of(name);
    }
    let data = image
        .env()
        .into_iter()
        .find(|(name, _)| *name == "DATA_DIR")
        .unwrap()
        .1;
    assert_eq!(image.one("VOLUME"), data);
    assert!(
        image
            .lines
            .iter()
            .any(|(word, rest)| word == "RUN" && rest.ends_with(&format!(" {data}")))
    );
    assert_eq!(image.one("EXPOSE"), our_port().to_string());
    assert_eq!(image.one("STOPSIGNAL"), "SIGTERM");
    assert!(!image.one("USER").starts_with('0') && image.one("USER") != "root");
    // What is copied lies where the build puts it, under the name that starts it.
    assert!(image.one("COPY").contains("/target/release/shardman "));
    assert!(image.one("COPY").ends_with("/shardman"));
    assert_eq!(image.command("ENTRYPOINT"), ["shardman"]);
    for words in [image.command("CMD"), image.command("HEALTHCHECK")[1..].to_vec()] {
        let (code, _, error) = Program::shardman(&[&words[0], "--help"]).run();
        assert_eq!(code, 0, "{words:?}: {error}");
    }
    let ignored = include_str!("../../.dockerignore");
    for secret in [".env", "data"] {
        assert!(
            ignored.lines().any(|line| line == secret),
            "{secret} is not sent to the build"
        );
    }
}

#[test]
fn the_compose_file_names_what_there_is() {
    let image = Image::read();
    let file = &yaml("compose.yml")[0];
    let bot = &file["services"]["bot"];
    for (name, value) in pairs(&bot["environment"]) {
        default_of(name);
        assert!(
            image.env().contains(&(name, &*value)),
            "{name}={value} is the image's too"
        );
    }
    let context = deploy(text(&bot["build"]["context"]));
    assert!(context.join(text(&bot["build"]["dockerfile"])).exists());
    let settings = deploy(text(&bot["env_file"]));
    assert!(settings.ends_with(".env") && settings.with_file_name(".env.example").exists());
    assert_eq!(
        text(&list(&bot["volumes"])[0]),
        format!("data:{}", image.one("VOLUME"))
    );
    assert!(!file["volumes"]["data"].is_badvalue());
    assert!(text(&list(&bot["ports"])[0]).ends_with(&format!("{0}:{0}", our_port())));
    let grace: i64 = text(&bot["stop_grace_period"])
        .trim_end_matches('s')
        .parse()
        .unwrap();
    assert!(grace >= stop_seconds() + 5, "{grace}");
    let test: Vec<_> = list(&bot["healthcheck"]["test"]).iter().map(text).collect();
    assert_eq!(test[0], "CMD");
    assert_eq!(test[1..], image.command("HEALTHCHECK")[..]);
    let options: Vec<_> = image
        .one("HEALTHCHECK")
        .split(' ')
        .filter_map(|word| word.strip_prefix("--")?.split_once('='))
        .collect();
    for (option, value) in options {
        let same = &bot["healthcheck"][&*option.replace('-', "_")];
        let same = same
            .as_str()
            .map_or_else(|| number(same).to_string(), str::to_owned);
        assert_eq!(same, value, "{option}");
    }
}

#[test]
fn the_kubernetes_file_names_what_there_is() {
    let image = Image::read();
    let objects = yaml("kubernetes.yml");
    let of_kind = |kind: &str| {
        objects
            .iter()
            .find(|object| text(&object["kind"]) == kind)
            .unwrap()
    };
    // One in the file would be written over what was put there by hand.
    assert!(objects.iter().all(|object| text(&object["kind"]) != "Secret"));
    let set = &of_kind("StatefulSet")["spec"];
    assert_eq!(text(&set["podManagementPolicy"]), "Parallel");
    assert_eq!(number(&set["replicas"]), 1);
    let pod = &set["template"]["spec"];
    let grace = number(&pod["terminationGracePeriodSeconds"]);
    assert!(grace >= stop_seconds() + 5, "{grace}");
    let user = image.one("USER").split_once(':').unwrap();
    let security = &pod["securityContext"];
    let ids = [
        &security["runAsUser"],
        &security["runAsGroup"],
        &security["fsGroup"],
    ]
    .map(number);
    assert_eq!(
        ids.map(|id| id.to_string()),
        [user.0, user.1, user.1].map(str::to_owned)
    );
    let container = &list(&pod["containers"])[0];
    let args: Vec<_> = list(&container["args"]).iter().map(text).collect();
    assert_eq!(args, image.command("CMD"));
    for variable in list(&container["env"]) {
        let (name, value) = (text(&variable["name"]), text(&variable["value"]));
        default_of(name);
        assert!(
            image.env().contains(&(name, value)),
            "{name}={value} is the image's too"
        );
    }
    let port = &list(&container["ports"])[0];
    assert_eq!(number(&port["containerPort"]), our_port());
    let service = &list(&of_kind("Service")["spec"]["ports"])[0];
    assert_eq!(number(&service["port"]), our_port());
    assert_eq!(service["targetPort"], port["name"]);
    for (probe, path) in [
        ("livenessProbe", "/health"),
        ("readinessProbe", "/ready"),
        ("startupProbe", "/health"),
    ] {
        let get = &container[probe]["httpGet"];
        assert_eq!(
            (text(&get["path"]), &get["port"]),
            (path, &port["name"]),
            "{probe}"
        );
        assert!(is_route(path), "{path}");
    }
    let claim = &list(&set["volumeClaimTemplates"])[0]["metadata"]["name"];
    let mounts = list(&container["volumeMounts"]);
    let data = mounts.iter().find(|mount| mount["name"] == *claim).unwrap();
    assert_eq!(text(&data["mountPath"]), image.one("VOLUME"));
    let labels = &set["template"]["metadata"]["labels"];
    assert_eq!(
        (
            &set["selector"]["matchLabels"],
            &of_kind("Service")["spec"]["selector"]
        ),
        (labels, labels)
    );
    assert_eq!(set["serviceName"], of_kind("Service")["metadata"]["name"]);
    let secret = text(&list(&container["envFrom"])[0]["secretRef"]["name"]);
    let command = format!("kubectl create secret generic {secret} --from-env-file=.env");
    for file in ["kubernetes.yml", "../docs/DEPLOY.md"] {
        let all = fs::read_to_string(deploy(file)).unwrap();
        let created = all.find(&command).unwrap_or_else(|| panic!("{file}: {command}"));
        assert!(
            created < all.find("kubectl apply -f deploy/kubernetes.yml").unwrap(),
            "{file}"
        );
    }
}

#[test]
fn commands_of_the_pages_name_the_containers_of_the_files() {
    let services = yaml("compose.yml")[0]["services"].clone();
    let objects = yaml("kubernetes.yml");
    let set = objects
        .iter()
        .find(|object| text(&object["kind"]) == "StatefulSet")
        .unwrap();
    let set = text(&set["metadata"]["name"]);
    let files = [
        "compose.yml",
        "kubernetes.yml",
        "../docs/DEPLOY.md",
        "../docs/TROUBLESHOOTING.md",
    ];
    let texts = files.map(|file| fs::read_to_string(deploy(file)).unwrap());
    let mut found = 0;
    for line in texts.iter().flat_map(|text| text.lines()) {
        let next = |words: &str| {
            line.split_once(words)
                .map(|(_, rest)| rest.split([' ', '`', ')']).next().unwrap())
        };
        for (before, expected) in [
            (
                "compose.yml exec ",
                next("compose.yml exec ").filter(|name| !services[*name].is_badvalue()),
            ),
            ("kubectl exec ", Some(&*format!("{set}-0"))),
            ("statefulset/", Some(set)),
        ] {
            if let Some(named) = next(before).filter(|named| !named.contains(',')) {
                assert_eq!(Some(named), expected, "{line}");
                found += 1;
            }
        }
    }
    assert!(found >= 7, "{found}");
}

/// Process 1 of a namespace, without root's powers and on the image's settings:
/// a fleet comes up, the check for its health holds, and SIGTERM ends it all.
/// The next container goes on with its volume: the shards resume.
#[test]
fn the_process_of_the_image_runs_a_fleet_is_healthy_and_stops_and_the_next_one_resumes() {
    let image = Image::read();
    let (user, group) = image.one("USER").split_once(':').unwrap();
    let id =
        format!("setpriv --reuid {user} --regid {group} --clear-groups --no-new-privs --bounding-set=-all");
    let inside = format!("unshare --pid --fork --mount-proc {id}");
    let mut probe: Vec<_> = inside.split(' ').collect();
    probe.push("true");
    if !tools("the process of the image", &[&probe]) {
        return;
    }
    let sim = Sim::start(4, 4, &["--events-per-second", "50"]);
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    chown(&data, user.parse().ok(), group.parse().ok()).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_shardman"), folder.path().join("shardman")).unwrap();
    let port = free_port().to_string();
    let run = |words: &str| {
        let mut program = Program::new("sh").arg("-c").arg(words).dir(folder.path());
        for (name, value) in image.env() {
            let value = value.replace(&our_port().to_string(), &port);
            let value = value.replace("/data", data.to_str().unwrap());
            program = program.env(name, &value);
        }
        let path = std::env::var("PATH").unwrap();
        program
            .env("DISCORD_API_URL", &sim.url())
            .env("PATH", &format!("{}:{path}", folder.path().display()))
    };
    let words = [image.command("ENTRYPOINT"), image.command("CMD")]
        .concat()
        .join(" ");
    let check = image.command("HEALTHCHECK").join(" ");
    for container in ["first", "second"] {
        let log = folder.path().join(container);
        let mut container = run(&format!("exec {inside} {words}")).spawn(&log);
        let is = |command: &str| (run(command).run().0 == 0).then_some(());
        eventually(seconds(30.0), "the image is healthy", || is(&check));
        eventually(seconds(40.0), "the fleet is whole", || is("shardman status"));
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", container.pid())).unwrap();
        let manager: i32 = children.split_whitespace().next().unwrap().parse().unwrap();
        let about = fs::read_to_string(format!("/proc/{manager}/status")).unwrap();
        let of = |name: &str| {
            let line = about.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().skip(1).collect::<Vec<_>>()
        };
        assert_eq!(of("NSpid:").last(), Some(&"1"), "it is process 1");
        assert!(of("Uid:").iter().all(|id| *id == user), "{about}");
        signal(manager, Signal::TERM);
        assert!(container.wait(seconds(25.0)).success());
        assert!(container.log().contains("stopped: clean"));
        assert_ne!(run(&check).run().0, 0, "nobody answers any more");
    }
    let report = sim.report();
    eprintln!(
        "{} identifies, {} resumes",
        report.identify_count, report.resume_count
    );
    assert_eq!((report.identify_count, report.resume_count), (4, 4));
    sim.assert_clean();
}
