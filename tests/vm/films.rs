//! Films of the host's are what the guest sees, bit for bit. No witness of the
//! card's is asked: what the film holds is known here.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use pinhole::agent::protocol::Run;
use pinhole::rig::capture::psnr::psnr;
use pinhole::rig::testbed::TestbedSpec;
use pinhole::rig::testbed::clients::{IoMode, ffmpeg, gstreamer};
use pinhole::source::{Layout, PixelFormat};
use pinhole::vm::images::clients;
use pinhole::vm::progress::Progress;

use crate::program::{self, BRIEF, Program, WITH_A_GUEST};
use crate::studio::{FILE, Studio, were_pinned};

const WIDTH: u32 = 176;
const HEIGHT: u32 = 144;

/// Frames a second of the films.
const FPS: u32 = 25;

/// Frames of a film, and of a capture.
const LENGTH: usize = 250;
const FRAMES: u32 = 10;

/// The planes of a frame of 4:2:0, each frame unlike the others.
fn planes(number: usize) -> [Vec<u8>; 3] {
    let luma = (WIDTH * HEIGHT) as usize;
    [luma, luma / 4, luma / 4].map(|length| {
        let seed = number * 89 + length / 3;
        (0..length)
            .map(|at| (seed + at * 13 + at / 61) as u8)
            .collect()
    })
}

fn planar(number: usize) -> Vec<u8> {
    planes(number).concat()
}

fn semi_planar(number: usize) -> Vec<u8> {
    let [luma, u, v] = planes(number);
    let chroma = u.iter().zip(&v).flat_map(|(u, v)| [*u, *v]);
    luma.iter().copied().chain(chroma).collect()
}

/// Every one of `frames` is one of `film`'s, and they are in its order.
fn are_of(film: &[Vec<u8>], frames: &[Vec<u8>]) {
    let numbers: Vec<_> = frames
        .iter()
        .map(|frame| film.iter().position(|of_film| of_film == frame))
        .collect();
    assert!(numbers.iter().all(Option::is_some), "{numbers:?}");
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
}

fn layout(format: PixelFormat) -> Layout {
    Layout::new(format, WIDTH, HEIGHT)
}

#[test]
#[ignore = "boots a guest"]
fn a_film_is_what_every_client_captures() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("film.y4m");
    let frame = |number| [b"FRAME\n".to_vec(), planar(number)].concat();
    let header = format!("YUV4MPEG2 W{WIDTH} H{HEIGHT} F{FPS}:1 Ip A1:1 C420mpeg2\n");
    let frames = (0..LENGTH).flat_map(frame);
    fs::write(
        &path,
        header
            .into_bytes()
            .into_iter()
            .chain(frames)
            .collect::<Vec<_>>(),
    )
    .unwrap();
    let studio = Studio::open(TestbedSpec {
        source: Some(format!("y4m:{},rate=frame", path.display())),
        ..TestbedSpec::default()
    });

    let planar_film: Vec<_> = (0..LENGTH).map(planar).collect();
    let semi_planar_film: Vec<_> = (0..LENGTH).map(semi_planar).collect();
    let (yu12, nv12) = (layout(PixelFormat::Yu12), layout(PixelFormat::Nv12));
    for (layout, film) in [(yu12, &planar_film), (nv12, &semi_planar_film)] {
        let v4l2_ctl = format!(
            "v4l2-ctl --set-fmt-video=width={WIDTH},height={HEIGHT},pixelformat={} \
             --set-parm={FPS} --stream-user=4 --stream-count={FRAMES} --stream-to={FILE}",
            layout.format.name(),
        );
        for client in [
            Run::new(v4l2_ctl.split_whitespace()),
            gstreamer(&layout, FPS, IoMode::Userptr, FRAMES, FILE).unwrap(),
            gstreamer(&layout, FPS, IoMode::Mmap, FRAMES, FILE).unwrap(),
            ffmpeg(&layout, FPS, FRAMES, FILE).unwrap(),
        ] {
            let (_, frames) = studio.capture(client, &layout, FRAMES);
            are_of(film, &frames);
        }
    }
    studio.close();
}

/// FFmpeg of the clients' image, to be run on the host.
fn host_ffmpeg() -> Command {
    let clients = clients::ensure(&Progress::silent()).unwrap();
    let mut command = clients.tree.command("/usr/bin/ffmpeg").unwrap();
    command
        .args(["-hide_banner", "-nostdin", "-loglevel", "error"])
        .stdin(Stdio::null());
    command
}

/// Makes a moving test picture of FFmpeg's, of so many frames, in `form`.
fn test_picture(frames: usize, form: &str, to: &str) -> Command {
    let picture = format!("testsrc2=size={WIDTH}x{HEIGHT}:rate={FPS}");
    let mut command = host_ffmpeg();
    command
        .args(["-f", "lavfi", "-i", &picture])
        .args(["-frames:v", &frames.to_string(), "-pix_fmt", "yuv420p"])
        .args(["-f", form, "-y", to]);
    command
}

/// Makes [`LENGTH`] frames of it in a file.
fn make_test_picture(form: &str, to: &Path) {
    let mut command = test_picture(LENGTH, form, to.to_str().unwrap());
    let output = program::output(&mut command, BRIEF);
    assert!(output.status.success(), "{output:?}");
}

/// The frames of a film or of JPEGs one after another, in RGB, as FFmpeg sees
/// them.
fn decoded(path: &Path, form: &str) -> Vec<Vec<u8>> {
    let mut command = host_ffmpeg();
    command
        .args(["-f", form, "-i", path.to_str().unwrap()])
        .args(["-pix_fmt", "rgb24", "-f", "rawvideo", "pipe:1"]);
    let output = program::output(&mut command, BRIEF);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    let length = (WIDTH * HEIGHT * 3) as usize;
    assert_eq!(output.stdout.len() % length, 0);
    output.stdout.chunks(length).map(<[u8]>::to_vec).collect()
}

/// What comes out of JPEGs is the film's picture, and no other of its pictures:
/// those beside it are below 20 dB.
#[test]
#[ignore = "boots a guest"]
fn jpegs_that_clients_capture_are_the_films_pictures() {
    const ALIKE: f64 = 28.0;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("film.y4m");
    make_test_picture("yuv4mpegpipe", &path);
    let film = decoded(&path, "yuv4mpegpipe");
    assert_eq!(film.len(), LENGTH);
    let studio = Studio::open(TestbedSpec {
        source: Some(format!("y4m:{},rate=frame", path.display())),
        ..TestbedSpec::default()
    });
    let mjpg = layout(PixelFormat::Mjpg);
    for client in [
        gstreamer(&mjpg, FPS, IoMode::Mmap, FRAMES, FILE).unwrap(),
        ffmpeg(&mjpg, FPS, FRAMES, FILE).unwrap(),
    ] {
        let line = client.argv.join(" ");
        let (_, jpegs) = studio.record(client);
        let path = folder.path().join("jpegs");
        fs::write(&path, jpegs).unwrap();
        let frames = decoded(&path, "mjpeg");
        assert_eq!(frames.len(), FRAMES as usize, "{line}");
        let mut next = 0;
        for frame in &frames {
            let likeness = |of_film: &Vec<u8>| psnr(of_film, frame).unwrap();
            let found = film[next..]
                .iter()
                .position(|of_film| likeness(of_film) > ALIKE);
            let best = film.iter().map(likeness).fold(0.0, f64::max);
            let number = next + found.unwrap_or_else(|| panic!("{line}: {best:.1} dB at best"));
            next = number + 1;
        }
    }
    studio.close();
}

/// `ffmpeg ... | pinhole device --source y4m:-`.
#[test]
#[ignore = "boots a guest"]
fn what_ffmpeg_pipes_into_the_card_on_the_host_is_what_the_guest_captures() {
    let folder = tempfile::tempdir().unwrap();
    let film = known(&folder.path().join("film"));
    let mut ffmpeg_on_host = test_picture(LENGTH, "yuv4mpegpipe", "pipe:1");
    // It is told in the end that nobody reads any more, and says so.
    let (pipe, writer) = std::io::pipe().unwrap();
    ffmpeg_on_host.stdout(writer).stderr(Stdio::null());
    let _pipeline = Program::start(&mut ffmpeg_on_host, WITH_A_GUEST);
    // It holds the pipe's other end.
    drop(ffmpeg_on_host);
    let studio = Studio::open(TestbedSpec {
        source: Some("y4m:-".into()),
        card_input: Some(Arc::new(pipe.into())),
        ..TestbedSpec::default()
    });
    // A pipe goes on where it was: two clients see two parts of it.
    let yu12 = layout(PixelFormat::Yu12);
    let userptr = gstreamer(&yu12, FPS, IoMode::Userptr, FRAMES, FILE).unwrap();
    let (answer, mut frames) = studio.capture(userptr, &yu12, FRAMES);
    were_pinned(&answer, &yu12);
    let second = ffmpeg(&yu12, FPS, FRAMES, FILE).unwrap();
    frames.extend(studio.capture(second, &yu12, FRAMES).1);
    are_of(&film, &frames);
    studio.close();
}

/// The frames that FFmpeg pipes, as it writes them to a file.
fn known(path: &Path) -> Vec<Vec<u8>> {
    make_test_picture("rawvideo", path);
    let sizeimage = layout(PixelFormat::Yu12).sizeimage as usize;
    let film = fs::read(path).unwrap();
    assert_eq!(film.len(), LENGTH * sizeimage);
    film.chunks(sizeimage).map(<[u8]>::to_vec).collect()
}
