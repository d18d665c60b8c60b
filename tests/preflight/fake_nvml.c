/* A libnvidia-ml.so.1 that answers from the key=value file named by FAKE_NVML. A key is a function's name without "nvml".
 *   DeviceGetName=NVIDIA A100        1.DeviceGetName=...   for the GPU of index 1 only
 *   DeviceGetEccMode=1,1             several numbers where the function returns several
 *   DeviceGetEccMode=!15             NVML's error 15
 *   DeviceGetEccMode=hang            never returns
 *   LostAfter=7                      from the 8th call on a device on, every one ends with 15 (GPU is lost)
 * An absent key is error 3 (not supported). Compiled with -DOLD, functions that drivers before 535 lack are missing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned int u32;
typedef unsigned long long u64;
static char *text;
static int calls, lost_after = -1, absent;

static char *find(const char *key) {
    size_t n = strlen(key);
    for (char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (!strncmp(line, key, n) && line[n] == '=') return line + n + 1;
    return NULL;
}

static void load(void) {
    if (text) return;
    text = calloc(1, 1 << 16);
    FILE *f = getenv("FAKE_NVML") ? fopen(getenv("FAKE_NVML"), "r") : NULL;
    if (f) { if (fread(text, 1, (1 << 16) - 1, f) == 0) text[0] = 0; fclose(f); }
    char *after = find("LostAfter");
    if (after) lost_after = atoi(after);
}

/* The value of a key (device: index + 1, or 0), or NULL with *rc set to what the call must return. */
static char *value(long device, const char *key, int *rc) {
    char own[128];
    load();
    *rc = absent = 0;
    if (device && lost_after >= 0 && ++calls > lost_after) { *rc = 15; return NULL; }
    snprintf(own, sizeof own, "%ld.%s", device - 1, key);
    char *v = device ? find(own) : NULL;
    if (!v) v = find(key);
    if (!v) { absent = 1; *rc = 3; return NULL; }
    if (*v == '!') { *rc = atoi(v + 1); return NULL; }
    if (!strncmp(v, "hang", 4)) for (;;) sleep(60);
    return v;
}

static int string(long d, const char *key, char *out, u32 length) {
    int rc; char *v = value(d, key, &rc);
    if (v) { size_t n = strcspn(v, "\n"); if (n >= length) n = length - 1; memcpy(out, v, n); out[n] = 0; }
    return rc;
}

static int numbers(long d, const char *key, u64 *out, int count) {
    int rc; char *v = value(d, key, &rc);
    for (int i = 0; v && i < count; i++) {
        out[i] = strtoull(v, &v, 0);
        if (*v == ',') v++;
    }
    return rc;
}

#define ONE(name) int nvml##name(long d, u32 *a) \
    { u64 n[1] = {0}; int rc = numbers(d, #name, n, 1); if (!rc) *a = n[0]; return rc; }
#define TWO(name) int nvml##name(long d, u32 *a, u32 *b) \
    { u64 n[2] = {0}; int rc = numbers(d, #name, n, 2); if (!rc) *a = n[0], *b = n[1]; return rc; }
#define MASK(name) int nvml##name(long d, u64 *a) \
    { u64 n[1] = {0}; int rc = numbers(d, #name, n, 1); if (!rc) *a = n[0]; return rc; }
#define BY(name) int nvml##name(long d, u32 which, u32 *a) \
    { char k[96]; u64 n[1] = {0}; snprintf(k, sizeof k, #name ".%u", which); \
      int rc = numbers(d, k, n, 1); if (!rc) *a = n[0]; return rc; }
#define PIDS(name) int nvml##name##_v3(long d, u32 *count, struct process *out) { return pids(d, #name, count, out); }

struct process { u32 pid; u64 used; u32 gi, ci; };
/* key=pid,pid,...; "none" is an empty list */
static int pids(long d, const char *key, u32 *count, struct process *out) {
    int rc, n = 0; char *v = value(d, key, &rc);
    if (!v) return rc;
    for (; *v >= '0' && *v <= '9'; n++) {
        u32 pid = strtoul(v, &v, 10);
        if (out) out[n] = (struct process){pid, 1 << 20, 0, 0};
        if (*v == ',') v++;
    }
    *count = n;
    return n && !out ? 7 : 0;
}

int nvmlInitWithFlags(u32 flags) { int rc; value(0, "Init", &rc); return absent ? 0 : rc; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { static char s[32]; snprintf(s, sizeof s, "error %d", code); return s; }
int nvmlSystemGetDriverVersion(char *out, u32 n) { return string(0, "SystemGetDriverVersion", out, n); }
int nvmlSystemGetCudaDriverVersion(int *v) { u64 n[1]; int rc = numbers(0, "SystemGetCudaDriverVersion", n, 1); if (!rc) *v = n[0]; return rc; }
int nvmlSystemGetCudaDriverVersion_v2(int *v) { return nvmlSystemGetCudaDriverVersion(v); }
int nvmlDeviceGetCount_v2(u32 *count) { u64 n[1]; int rc = numbers(0, "DeviceGetCount", n, 1); if (!rc) *count = n[0]; return rc; }
int nvmlDeviceGetHandleByIndex_v2(u32 i, long *d) { int rc; value(i + 1, "DeviceGetHandleByIndex", &rc); *d = i + 1; return absent ? 0 : rc; }

int nvmlDeviceGetName(long d, char *out, u32 n) { return string(d, "DeviceGetName", out, n); }
int nvmlDeviceGetUUID(long d, char *out, u32 n) { return string(d, "DeviceGetUUID", out, n); }

struct pci { char legacy[16]; u32 domain, bus, device, id, subsystem; char bus_id[32]; };
/* DeviceGetPciInfo=0x20f110de,00000000:00:06.0 */
int nvmlDeviceGetPciInfo_v3(long d, struct pci *out) {
    char s[96]; int rc = string(d, "DeviceGetPciInfo", s, sizeof s);
    if (!rc) {
        char *rest; memset(out, 0, sizeof *out); out->id = strtoul(s, &rest, 0);
        if (*rest == ',') snprintf(out->bus_id, sizeof out->bus_id, "%s", rest + 1);
    }
    return rc;
}

/* DeviceGetMemoryInfo=total,free,used in bytes */
int nvmlDeviceGetMemoryInfo(long d, u64 *out) { return numbers(d, "DeviceGetMemoryInfo", out, 3); }
int nvmlDeviceGetBAR1MemoryInfo(long d, u64 *out) { return numbers(d, "DeviceGetBAR1MemoryInfo", out, 3); }
int nvmlDeviceGetUtilizationRates(long d, u32 *out) { u64 n[2] = {0}; int rc = numbers(d, "DeviceGetUtilizationRates", n, 2); if (!rc) out[0] = n[0], out[1] = n[1]; return rc; }
int nvmlDeviceGetTemperature(long d, u32 sensor, u32 *a) { u64 n[1]; int rc = numbers(d, "DeviceGetTemperature", n, 1); if (!rc) *a = n[0]; return rc; }
int nvmlDeviceValidateInforom(long d) { int rc; value(d, "DeviceValidateInforom", &rc); return rc; }

int nvmlDeviceGetRetiredPages(long d, u32 cause, u32 *count, u64 *out) {
    char k[96]; u64 n[1]; snprintf(k, sizeof k, "DeviceGetRetiredPages.%u", cause);
    int rc = numbers(d, k, n, 1);
    if (rc) return rc;
    for (u64 i = 0; out && i < n[0] && i < *count; i++) out[i] = i;
    *count = n[0];
    return out || !n[0] ? 0 : 7;
}

/* type 0 corrected, 1 uncorrected; counter 0 volatile, 1 aggregate; location 2 DRAM (and device memory), 7 SRAM */
int nvmlDeviceGetTotalEccErrors(long d, u32 type, u32 counter, u64 *a) {
    char k[96]; snprintf(k, sizeof k, "DeviceGetTotalEccErrors.%u.%u", type, counter); return numbers(d, k, a, 1);
}
int nvmlDeviceGetMemoryErrorCounter(long d, u32 type, u32 counter, u32 location, u64 *a) {
    char k[96]; snprintf(k, sizeof k, "DeviceGetMemoryErrorCounter.%u.%u.%u", type, counter, location); return numbers(d, k, a, 1);
}

ONE(DeviceGetPerformanceState) ONE(DeviceGetPersistenceMode) ONE(DeviceGetPowerUsage) ONE(DeviceGetEnforcedPowerLimit)
ONE(DeviceGetPowerManagementDefaultLimit) ONE(DeviceGetDisplayActive) ONE(DeviceGetComputeMode)
ONE(DeviceGetVirtualizationMode) ONE(DeviceGetRetiredPagesPendingStatus) ONE(DeviceGetCurrPcieLinkGeneration)
ONE(DeviceGetCurrPcieLinkWidth) ONE(DeviceGetMaxPcieLinkGeneration) ONE(DeviceGetMaxPcieLinkWidth)
TWO(DeviceGetCudaComputeCapability) TWO(DeviceGetMigMode) TWO(DeviceGetEccMode)
BY(DeviceGetTemperatureThreshold)
MASK(DeviceGetCurrentClocksThrottleReasons)
PIDS(DeviceGetComputeRunningProcesses) PIDS(DeviceGetGraphicsRunningProcesses)

int nvmlDeviceGetRemappedRows(long d, u32 *a, u32 *b, u32 *c, u32 *e) {
    u64 n[4] = {0}; int rc = numbers(d, "DeviceGetRemappedRows", n, 4);
    if (!rc) *a = n[0], *b = n[1], *c = n[2], *e = n[3];
    return rc;
}

struct field { u32 id, scope; long long time, latency; u32 type; int rc; u64 value; };
/* FieldValue.230=0 */
int nvmlDeviceGetFieldValues(long d, int count, struct field *f) {
    for (int i = 0; i < count; i++) {
        char k[32]; snprintf(k, sizeof k, "FieldValue.%u", f[i].id);
        f[i].rc = numbers(d, k, &f[i].value, 1);
    }
    return 0;
}

struct feature { u32 code, state; char info[128], product[128]; u32 enabled; struct { u32 year; unsigned short rest[5]; unsigned char status; } expiry; };
struct license { int supported; u32 count; struct feature feature[3]; };
#ifndef OLD
MASK(DeviceGetCurrentClocksEventReasons)
#endif
/* DeviceGetGridLicensableFeatures=supported,code,state */
int nvmlDeviceGetGridLicensableFeatures_v4(long d, struct license *out) {
    u64 n[3] = {0}; int rc = numbers(d, "DeviceGetGridLicensableFeatures", n, 3);
    if (!rc) {
        memset(out, 0, sizeof *out); out->supported = n[0]; out->count = n[0] ? 1 : 0;
        out->feature[0].code = n[1]; out->feature[0].state = n[2];
    }
    return rc;
}
