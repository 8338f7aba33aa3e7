//! Shared libraries that only some processes need, loaded at the first call and not at the start of every command.
//!
//! Keys are spoken to by workers; what those call of libpcsclite (by the `pcsc` crate, also for `yubikey`) and libudev (by `hidapi`, which comes with
//! `ctap-hid-fido2`) is defined here under the library's own names. So the linker finds nothing to take from either library and leaves
//! both out of what is loaded at each start, where they would cost a command with a lease a tenth of its time. Where a library is not
//! installed, its first call says so as it says that its service does not run.
#![allow(unsafe_code, non_snake_case, non_upper_case_globals)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::transmute;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

use pcsc::ffi::{
    DWORD, LONG, SCARD_E_NO_SERVICE, SCARD_IO_REQUEST, SCARD_PROTOCOL_RAW, SCARD_PROTOCOL_T0, SCARD_PROTOCOL_T1, SCARD_READERSTATE,
    SCARDCONTEXT, SCARDHANDLE,
};

/// By its name with the version of its interface, as the linker would have noted it.
static PCSCLITE: Library = Library::new(c"libpcsclite.so.1");
static UDEV: Library = Library::new(c"libudev.so.1");

struct Library {
    name: &'static CStr,
    /// Null until it is loaded, which is for good.
    handle: AtomicPtr<c_void>,
}

impl Library {
    const fn new(name: &'static CStr) -> Self {
        Self {
            name,
            handle: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Where a function of it lies; nothing where the library is not there, or is without it.
    fn find(&self, function: &CStr) -> Option<NonNull<c_void>> {
        let mut handle = self.handle.load(Ordering::Acquire);
        if handle.is_null() {
            // SAFETY: a string that ends with NUL; what the library does when it is loaded is what it did when every start loaded it.
            handle = unsafe { libc::dlopen(self.name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
            self.handle.store(handle, Ordering::Release);
        }
        if handle.is_null() {
            return None;
        }
        // SAFETY: a handle of `dlopen` that is never closed, and a string that ends with NUL.
        NonNull::new(unsafe { libc::dlsym(handle, function.as_ptr()) })
    }
}

/// Functions of a library, each with what it gives where the library is not there.
macro_rules! late {
    ($library:ident: $(fn $name:ident($($argument:ident: $type:ty),*) -> $gives:ty, or $none:expr;)+) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $type),*) -> $gives {
            const NAME: &CStr = match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => c"",
            };
            match $library.find(NAME) {
                // SAFETY: the library's function of this name has this form, and the caller keeps to its terms.
                Some(place) => unsafe {
                    transmute::<NonNull<c_void>, unsafe extern "C" fn($($type),*) -> $gives>(place)($($argument),*)
                },
                None => $none,
            }
        }
    )+};
}

// winscard.h of pcsc-lite; the forms are those of `pcsc::ffi`.
late! { PCSCLITE:
    fn SCardEstablishContext(scope: DWORD, _1: *const c_void, _2: *const c_void, context: *mut SCARDCONTEXT) -> LONG, or SCARD_E_NO_SERVICE;
    fn SCardReleaseContext(context: SCARDCONTEXT) -> LONG, or SCARD_E_NO_SERVICE;
    fn SCardIsValidContext(context: SCARDCONTEXT) -> LONG, or SCARD_E_NO_SERVICE;
    fn SCardListReaders(context: SCARDCONTEXT, groups: *const c_char, readers: *mut c_char, len: *mut DWORD) -> LONG, or SCARD_E_NO_SERVICE;
    fn SCardGetStatusChange(context: SCARDCONTEXT, timeout: DWORD, states: *mut SCARD_READERSTATE, len: DWORD) -> LONG, or SCARD_E_NO_SERVICE;
    fn SCardConnect(
        context: SCARDCONTEXT, reader: *const c_char, share: DWORD, preferred: DWORD, card: *mut SCARDHANDLE, protocol: *mut DWORD
    ) -> LONG, or SCARD_E_NO_SERVICE;
    fn SCardReconnect(
        card: SCARDHANDLE, share: DWORD, preferred: DWORD, disposition: DWORD, protocol: *mut DWORD
    ) -> LONG, or SCARD_E_NO_SERVICE;
    fn SCardDisconnect(card: SCARDHANDLE, disposition: DWORD) -> LONG, or SCARD_E_NO_SERVICE;
    fn SCardBeginTransaction(card: SCARDHANDLE) -> LONG, or SCARD_E_NO_SERVICE;
    fn SCardEndTransaction(card: SCARDHANDLE, disposition: DWORD) -> LONG, or SCARD_E_NO_SERVICE;
    fn SCardStatus(
        card: SCARDHANDLE, name: *mut c_char, name_len: *mut DWORD, state: *mut DWORD, protocol: *mut DWORD, atr: *mut u8, atr_len: *mut DWORD
    ) -> LONG, or SCARD_E_NO_SERVICE;
    fn SCardGetAttrib(card: SCARDHANDLE, id: DWORD, attribute: *mut u8, len: *mut DWORD) -> LONG, or SCARD_E_NO_SERVICE;
    fn SCardTransmit(
        card: SCARDHANDLE, form: *const SCARD_IO_REQUEST, sent: *const u8, sent_len: DWORD,
        answers_form: *mut SCARD_IO_REQUEST, answer: *mut u8, answer_len: *mut DWORD
    ) -> LONG, or SCARD_E_NO_SERVICE;
}

#[unsafe(no_mangle)]
static g_rgSCardT0Pci: SCARD_IO_REQUEST = form(SCARD_PROTOCOL_T0);
#[unsafe(no_mangle)]
static g_rgSCardT1Pci: SCARD_IO_REQUEST = form(SCARD_PROTOCOL_T1);
#[unsafe(no_mangle)]
static g_rgSCardRawPci: SCARD_IO_REQUEST = form(SCARD_PROTOCOL_RAW);

const fn form(protocol: DWORD) -> SCARD_IO_REQUEST {
    SCARD_IO_REQUEST {
        dwProtocol: protocol,
        cbPciLength: size_of::<SCARD_IO_REQUEST>() as DWORD,
    }
}

/// A `struct udev`, or one of its devices, enumerations, entries: pointers that `hidapi` passes on.
type Udev = *mut c_void;
type Text = *const c_char;

// libudev.h. Without a context, which is what `udev_new` gives where there is no library, `hidapi` calls none of the others.
late! { UDEV:
    fn udev_new() -> Udev, or ptr::null_mut();
    fn udev_unref(udev: Udev) -> Udev, or ptr::null_mut();
    fn udev_enumerate_new(udev: Udev) -> Udev, or ptr::null_mut();
    fn udev_enumerate_add_match_subsystem(enumerate: Udev, subsystem: Text) -> c_int, or -libc::ENOSYS;
    fn udev_enumerate_scan_devices(enumerate: Udev) -> c_int, or -libc::ENOSYS;
    fn udev_enumerate_get_list_entry(enumerate: Udev) -> Udev, or ptr::null_mut();
    fn udev_enumerate_unref(enumerate: Udev) -> Udev, or ptr::null_mut();
    fn udev_list_entry_get_next(entry: Udev) -> Udev, or ptr::null_mut();
    fn udev_list_entry_get_name(entry: Udev) -> Text, or ptr::null();
    fn udev_device_new_from_syspath(udev: Udev, path: Text) -> Udev, or ptr::null_mut();
    fn udev_device_new_from_devnum(udev: Udev, kind: c_char, number: libc::dev_t) -> Udev, or ptr::null_mut();
    fn udev_device_get_parent_with_subsystem_devtype(device: Udev, subsystem: Text, kind: Text) -> Udev, or ptr::null_mut();
    fn udev_device_get_syspath(device: Udev) -> Text, or ptr::null();
    fn udev_device_get_devnode(device: Udev) -> Text, or ptr::null();
    fn udev_device_get_sysattr_value(device: Udev, attribute: Text) -> Text, or ptr::null();
    fn udev_device_unref(device: Udev) -> Udev, or ptr::null_mut();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use pcsc::ffi::SCARD_E_INVALID_HANDLE;

    use super::*;

    #[test]
    fn a_library_is_loaded_by_its_first_call_and_not_before() {
        let is_loaded = || fs::read_to_string("/proc/self/maps").unwrap().contains("/libudev.so.1");
        assert!(!is_loaded());
        // SAFETY: the calls of libudev(3) in their order: a context, a device of it that every Linux has, its name, and both given back.
        let path = unsafe {
            let udev = udev_new();
            let device = udev_device_new_from_syspath(udev, c"/sys/devices/virtual/mem/null".as_ptr());
            let path = CStr::from_ptr(udev_device_get_devnode(device)).to_owned();
            udev_device_unref(device);
            udev_unref(udev);
            path
        };
        assert_eq!(path.as_c_str(), c"/dev/null");
        assert!(is_loaded());
    }

    #[test]
    fn without_the_library_there_is_no_function() {
        let none = Library::new(c"libtouchlease-has-no-such-library.so.1");
        assert_eq!(none.find(c"udev_new"), None);
        let libc = Library::new(c"libc.so.6");
        assert!(libc.find(c"strlen").is_some());
        assert_eq!(libc.find(c"libc_has_no_such_function"), None);
    }

    #[test]
    fn readers_are_asked_for_from_the_library_whether_or_not_their_service_runs() {
        match pcsc::Context::establish(pcsc::Scope::User) {
            Ok(context) => assert!(context.list_readers_owned().is_ok()),
            Err(error) => assert_eq!(error, pcsc::Error::NoService),
        }
        // What is said in the library's place says nothing but that there is no service.
        // SAFETY: a number; the library looks for it among its contexts, whether or not there is a service (winscard_clnt.c).
        assert_eq!(unsafe { SCardReleaseContext(0) }, SCARD_E_INVALID_HANDLE);
    }
}
