// Compiles HLSL files as wgpu does on DX12, and prints what came of each.
//
//   hlsl_compile.exe fxc|dxc COMPILER.dll PROFILE LIST
//
// LIST is a file that names one HLSL file a line; every one has the entry point `main`. A line of output is
//   NAME <tab> ok|warning|error <tab> milliseconds of CPU time <tab> bytes of code or the compiler's words, on one line
// and begins before the compiler does, so that a reader knows which file a compiler that was stopped was at.
//
// x86_64-w64-mingw32-gcc -O2 -o hlsl_compile.exe hlsl_compile.c
#define COBJMACROS
#define INITGUID
#include <windows.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

// Of D3DCompiler and DXC only what is used here: an interface is a table of functions, in the order of its header.
typedef struct Blob Blob;
struct Blob {
    struct {
        HRESULT(WINAPI *query)(Blob *, const GUID *, void **);
        ULONG(WINAPI *add_ref)(Blob *);
        ULONG(WINAPI *release)(Blob *);
        void *(WINAPI *data)(Blob *);
        SIZE_T(WINAPI *size)(Blob *);
    } const *of;
};

typedef struct Result Result;
struct Result {
    struct {
        HRESULT(WINAPI *query)(Result *, const GUID *, void **);
        ULONG(WINAPI *add_ref)(Result *);
        ULONG(WINAPI *release)(Result *);
        HRESULT(WINAPI *status)(Result *, HRESULT *);
        HRESULT(WINAPI *result)(Result *, Blob **);
        HRESULT(WINAPI *errors)(Result *, Blob **);
    } const *of;
};

typedef struct {
    const void *data;
    SIZE_T size;
    UINT encoding;
} Buffer;

typedef struct Compiler Compiler;
struct Compiler {
    struct {
        HRESULT(WINAPI *query)(Compiler *, const GUID *, void **);
        ULONG(WINAPI *add_ref)(Compiler *);
        ULONG(WINAPI *release)(Compiler *);
        HRESULT(WINAPI *compile)(Compiler *, const Buffer *, LPCWSTR *, UINT, void *, const GUID *, void **);
    } const *of;
};

typedef HRESULT(WINAPI *D3DCompile)(const void *, SIZE_T, const char *, const void *, void *, const char *, const char *,
                                    UINT, UINT, Blob **, Blob **);
typedef HRESULT(WINAPI *DxcCreateInstance)(const GUID *, const GUID *, void **);

static const GUID DXC_COMPILER = {0x73e22d93, 0xe6ce, 0x47f3, {0xb5, 0xbf, 0xf0, 0x66, 0x4f, 0x39, 0xc1, 0xb0}};
static const GUID DXC_COMPILER_3 = {0x228b4687, 0x5a6a, 0x4730, {0x90, 0x0c, 0x97, 0x02, 0xb2, 0x20, 0x3f, 0x54}};
static const GUID DXC_RESULT = {0x58346cda, 0xdde7, 0x4497, {0x94, 0x61, 0x6f, 0x87, 0xaf, 0x5e, 0x06, 0x59}};

static const UINT STRICTNESS = 1 << 11; // D3DCOMPILE_ENABLE_STRICTNESS
static const UINT UTF8 = 65001;

// Seconds of CPU time of this process.
static double cpu_time(void) {
    FILETIME created, ended, kernel, user;
    GetProcessTimes(GetCurrentProcess(), &created, &ended, &kernel, &user);
    double high = (double)kernel.dwHighDateTime + user.dwHighDateTime;
    return (high * 4294967296.0 + kernel.dwLowDateTime + user.dwLowDateTime) * 1e-7;
}

static char *read(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        return 0;
    }
    fseek(file, 0, SEEK_END);
    *size = ftell(file);
    rewind(file);
    char *text = malloc(*size + 1);
    *size = fread(text, 1, *size, file);
    fclose(file);
    return text;
}

// The compiler's words, on one line.
static void print_words(Blob *words) {
    const char *text = words ? words->of->data(words) : "no word why";
    for (int i = 0; i < 400 && text[i]; i++) {
        putchar(text[i] < ' ' ? ' ' : text[i]);
    }
}

static void print(double seconds, HRESULT status, Blob *code, Blob *words) {
    int warns = SUCCEEDED(status) && words && words->of->size(words) > 1;
    printf("\t%s\t%.0f\t", FAILED(status) ? "error" : warns ? "warning" : "ok", seconds * 1e3);
    if (FAILED(status) || warns) {
        print_words(words);
    } else {
        printf("%u bytes", code ? (unsigned)code->of->size(code) : 0);
    }
    printf("\n");
}

int main(int n, char **arguments) {
    setvbuf(stdout, 0, _IONBF, 0);
    if (n != 5) {
        fprintf(stderr, "hlsl_compile.exe fxc|dxc COMPILER.dll PROFILE LIST\n");
        return 2;
    }
    int dxc = !strcmp(arguments[1], "dxc");
    const char *profile = arguments[3];
    HMODULE library = LoadLibraryA(arguments[2]);
    FILE *list = fopen(arguments[4], "r");
    if (!library || !list) {
        fprintf(stderr, "cannot open %s\n", library ? arguments[4] : arguments[2]);
        return 2;
    }
    D3DCompile fxc_compile = 0;
    Compiler *compiler = 0;
    if (dxc) {
        DxcCreateInstance create = (DxcCreateInstance)(void *)GetProcAddress(library, "DxcCreateInstance");
        if (!create || FAILED(create(&DXC_COMPILER, &DXC_COMPILER_3, (void **)&compiler))) {
            fprintf(stderr, "%s is no DXC\n", arguments[2]);
            return 2;
        }
    } else {
        fxc_compile = (D3DCompile)(void *)GetProcAddress(library, "D3DCompile");
        if (!fxc_compile) {
            fprintf(stderr, "%s is no FXC\n", arguments[2]);
            return 2;
        }
    }
    wchar_t wide_profile[32];
    mbstowcs(wide_profile, profile, 32);
    char path[4096];
    while (fgets(path, sizeof path, list)) {
        path[strcspn(path, "\r\n")] = 0;
        printf("%s", path);
        size_t size = 0;
        char *text = read(path, &size);
        if (!text) {
            printf("\terror\t0\tcannot be read\n");
            continue;
        }
        Blob *code = 0, *words = 0;
        double start = cpu_time();
        if (dxc) {
            LPCWSTR options[] = {L"-E", L"main", L"-T", wide_profile, L"-HV", L"2018", L"-no-warnings", L"-Ges"};
            Buffer buffer = {text, size, UTF8};
            Result *result = 0;
            HRESULT status = compiler->of->compile(compiler, &buffer, options, 8, 0, &DXC_RESULT, (void **)&result);
            if (SUCCEEDED(status)) {
                result->of->status(result, &status);
                result->of->errors(result, &words);
                result->of->result(result, &code);
            }
            print(cpu_time() - start, status, code, words);
            if (result) {
                result->of->release(result);
            }
        } else {
            HRESULT status = fxc_compile(text, size, 0, 0, 0, "main", profile, STRICTNESS, 0, &code, &words);
            print(cpu_time() - start, status, code, words);
        }
        if (code) {
            code->of->release(code);
        }
        if (words) {
            words->of->release(words);
        }
        free(text);
    }
    return 0;
}
