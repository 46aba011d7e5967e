/* The edge agent's local fast path in C and C++: one header, C99 or C++11, Linux, nothing else needed.
 *
 * Tensors and pictures lie in memory that both sides see; a request is a message of a few bytes over a unix
 * socket. docs/fast-path.md says the bytes. Include this header before others, or define _GNU_SOURCE.
 * SPDX-License-Identifier: Apache-2.0
 *
 *     edge_agent *agent = edge_agent_open(EDGE_AGENT_SOCKET, 16 << 20);
 *     memcpy(edge_agent_memory(agent), jpeg, size);
 *     edge_agent_picture picture = {.offset = 0, .size = size, .timeout_ms = 1000};
 *     edge_agent_frame frame;
 *     if (edge_agent_inspect(agent, &picture, &frame) != EDGE_AGENT_OK) puts(edge_agent_error(agent));
 *     edge_agent_close(agent);
 *
 * One connection is for one thread at a time. What a call returns stays until the next call on its connection.
 * A call that did not end in time (EDGE_AGENT_DEADLINE_EXCEEDED, EDGE_AGENT_UNAVAILABLE) may leave an answer
 * behind that is still being written: the connection then lends new memory, so ask edge_agent_memory again.
 */
#ifndef EDGE_AGENT_H
#define EDGE_AGENT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define EDGE_AGENT_SOCKET "/run/edge-agent/fast.sock"
#define EDGE_AGENT_TENSORS 64
#define EDGE_AGENT_DIMENSIONS 8
#define EDGE_AGENT_RESULTS 255
#define EDGE_AGENT_REQUEST_BYTES 16384
#define EDGE_AGENT_REPLY_BYTES 65536
#define EDGE_AGENT_WAY_BACK_MS 100

/* What a call returns: 0, gRPC's number of the agent's error, or EDGE_AGENT_SYSTEM with errno set. */
enum {
    EDGE_AGENT_SYSTEM = -1,
    EDGE_AGENT_OK = 0,
    EDGE_AGENT_INVALID_ARGUMENT = 3,
    EDGE_AGENT_DEADLINE_EXCEEDED = 4,
    EDGE_AGENT_NOT_FOUND = 5,
    EDGE_AGENT_RESOURCE_EXHAUSTED = 8,
    EDGE_AGENT_FAILED_PRECONDITION = 9,
    EDGE_AGENT_OUT_OF_RANGE = 11,
    EDGE_AGENT_INTERNAL = 13,
    EDGE_AGENT_UNAVAILABLE = 14
};

typedef enum { EDGE_AGENT_UINT8, EDGE_AGENT_INT16, EDGE_AGENT_INT32, EDGE_AGENT_INT64, EDGE_AGENT_FLOAT16,
               EDGE_AGENT_FLOAT32, EDGE_AGENT_FLOAT64 } edge_agent_dtype;

/* On any doubt NO_RESULT, never OK. */
typedef enum { EDGE_AGENT_NO_RESULT, EDGE_AGENT_VERDICT_OK, EDGE_AGENT_VERDICT_NG } edge_agent_verdict;

/* A tensor in the lent memory, in C order. */
typedef struct {
    const char *name;
    edge_agent_dtype dtype;
    unsigned dimensions;
    int64_t shape[EDGE_AGENT_DIMENSIONS];
    uint64_t offset, size;
} edge_agent_tensor;

typedef struct {
    const char *model;   /* its name; the active version answers */
    const char *version; /* or this loaded version and no other; NULL: the active one */
    const edge_agent_tensor *inputs;
    unsigned input_count;
    uint64_t output_offset, output_size; /* where outputs may be written, one behind the other, aligned to 64 */
    uint32_t timeout_ms;                 /* 0: 10 s */
    int may_wait;                        /* 1: requests of the line go first */
} edge_agent_request;

typedef struct {
    const char *model, *version; /* which answered */
    unsigned output_count;
    const edge_agent_tensor *outputs;
} edge_agent_answer;

typedef struct {
    uint64_t offset, size;
    uint32_t width, height;          /* of packed RGB; 0, 0: a JPEG or PNG file */
    uint64_t drawn_offset, drawn_size; /* where masks and heat maps may be written, as PNG files */
    int with_mask, with_heat_map;
    const char *const *applications; /* as in the mappings; none: all */
    unsigned application_count;
    const char *source, *frame_name; /* for people; may be NULL */
    uint32_t timeout_ms;             /* 0: 10 s */
    int may_wait;
} edge_agent_picture;

typedef struct {
    const char *application, *model, *version, *kind, *label, *message;
    edge_agent_verdict verdict;
    double score, threshold, area, milliseconds;
    uint64_t mask_offset, mask_size, heat_map_offset, heat_map_size; /* size 0: none */
    int mask_left_out, heat_map_left_out;                           /* 1: it did not fit, size tells what it needs */
    int skipped;
} edge_agent_result;

typedef struct {
    const char *id, *message;
    edge_agent_verdict verdict;
    double milliseconds;
    uint32_t width, height;
    unsigned result_count;
    const edge_agent_result *results;
} edge_agent_frame;

typedef struct {
    int socket;
    int timed_out;
    uint32_t number;
    unsigned char *memory;
    size_t memory_size;
    char word[64];
    char error[2400];
    unsigned char request[EDGE_AGENT_REQUEST_BYTES];
    unsigned char reply[EDGE_AGENT_REPLY_BYTES];
    char strings[EDGE_AGENT_REPLY_BYTES + 8 * EDGE_AGENT_RESULTS];
    size_t strings_used;
    edge_agent_tensor outputs[EDGE_AGENT_TENSORS];
    edge_agent_result results[EDGE_AGENT_RESULTS];
} edge_agent;

/* ---- below: how it is done ---- */

typedef struct {
    unsigned char *bytes;
    size_t at, size;
    int cut; /* something did not fit */
} edge_agent__cursor;

static inline void edge_agent__put(edge_agent__cursor *to, uint64_t value, size_t bytes)
{
    if (to->size - to->at < bytes) {
        to->cut = 1;
        return;
    }
    for (size_t i = 0; i < bytes; i++)
        to->bytes[to->at++] = (unsigned char)(value >> (8 * i));
}

static inline uint64_t edge_agent__get(edge_agent__cursor *from, size_t bytes)
{
    uint64_t value = 0;
    if (from->size - from->at < bytes) {
        from->cut = 1;
        return 0;
    }
    for (size_t i = 0; i < bytes; i++)
        value |= (uint64_t)from->bytes[from->at++] << (8 * i);
    return value;
}

static inline double edge_agent__get_double(edge_agent__cursor *from)
{
    uint64_t bits = edge_agent__get(from, 8);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline size_t edge_agent__length(const char *string)
{
    return string ? strlen(string) : 0;
}

static inline void edge_agent__put_length(edge_agent__cursor *to, const char *string)
{
    size_t length = edge_agent__length(string);
    if (length > UINT16_MAX)
        to->cut = 1;
    edge_agent__put(to, length, 2);
}

static inline void edge_agent__put_string(edge_agent__cursor *to, const char *string)
{
    size_t length = edge_agent__length(string);
    if (to->cut || to->size - to->at < length) {
        to->cut = 1;
        return;
    }
    if (length)
        memcpy(to->bytes + to->at, string, length);
    to->at += length;
}

/* Copies a string of the reply, with a zero behind it. */
static inline const char *edge_agent__get_string(edge_agent *agent, edge_agent__cursor *from, uint64_t length)
{
    char *copy = agent->strings + agent->strings_used;
    if (from->cut || from->size - from->at < length || sizeof agent->strings - agent->strings_used <= length) {
        from->cut = 1;
        return "";
    }
    memcpy(copy, from->bytes + from->at, (size_t)length);
    copy[length] = 0;
    from->at += (size_t)length;
    agent->strings_used += (size_t)length + 1;
    return copy;
}

static inline int edge_agent__failed(edge_agent *agent, int status, const char *word, const char *message)
{
    snprintf(agent->word, sizeof agent->word, "%s", word);
    snprintf(agent->error, sizeof agent->error, "%s: %s", word, message);
    return status;
}

static inline int edge_agent__system(edge_agent *agent, const char *what)
{
    int number = errno;
    char message[256];
    snprintf(message, sizeof message, "%s, %s", what, strerror(number));
    edge_agent__failed(agent, EDGE_AGENT_SYSTEM, "SYSTEM", message);
    errno = number;
    return EDGE_AGENT_SYSTEM;
}

static inline void edge_agent__hang_up(edge_agent *agent)
{
    if (agent->socket >= 0)
        close(agent->socket);
    agent->socket = -1;
}

static inline edge_agent__cursor edge_agent__begin(edge_agent *agent, unsigned kind)
{
    edge_agent__cursor to = {agent->request, 0, sizeof agent->request, 0};
    agent->number++;
    agent->strings_used = 0;
    agent->word[0] = agent->error[0] = 0;
    edge_agent__put(&to, kind, 2);
    edge_agent__put(&to, 0, 2);
    edge_agent__put(&to, agent->number, 4);
    return to;
}

static inline int edge_agent__wait(edge_agent *agent, uint32_t milliseconds)
{
    struct timeval time;
    time.tv_sec = milliseconds / 1000;
    time.tv_usec = (milliseconds % 1000) * 1000;
    return setsockopt(agent->socket, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
}

static inline int edge_agent__send(edge_agent *agent, const edge_agent__cursor *request, int descriptor)
{
    union {
        struct cmsghdr header;
        unsigned char bytes[CMSG_SPACE(sizeof(int))];
    } beside;
    struct iovec part = {agent->request, request->at};
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (descriptor >= 0) {
        struct cmsghdr *header;
        memset(&beside, 0, sizeof beside);
        message.msg_control = beside.bytes;
        message.msg_controllen = sizeof beside.bytes;
        header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
    }
    return sendmsg(agent->socket, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

static inline int edge_agent_resize(edge_agent *agent, size_t memory_bytes);

static inline int edge_agent__error(edge_agent *agent, edge_agent__cursor *from)
{
    int status = (int)edge_agent__get(from, 4);
    uint64_t word = edge_agent__get(from, 2), kind = edge_agent__get(from, 2), text = edge_agent__get(from, 4);
    const char *words, *message;
    edge_agent__get(from, 4);
    words = edge_agent__get_string(agent, from, word);
    edge_agent__get_string(agent, from, kind);
    message = edge_agent__get_string(agent, from, text);
    return edge_agent__failed(agent, status > 0 ? status : EDGE_AGENT_INTERNAL, words, message);
}

/* Sends a request and reads the reply's head; `from` is behind it then. */
static inline int edge_agent__ask(edge_agent *agent, const edge_agent__cursor *request, int descriptor, uint32_t timeout_ms,
                           edge_agent__cursor *from)
{
    ssize_t size;
    uint64_t kind, flags, number;
    int status = EDGE_AGENT_OK;
    if (request->cut)
        return edge_agent__failed(agent, EDGE_AGENT_INVALID_ARGUMENT, "INVALID_ARGUMENT", "the request is too large");
    if (agent->socket < 0) {
        errno = ENOTCONN;
        return edge_agent__system(agent, "the connection has ended, open another");
    }
    if (edge_agent__wait(agent, timeout_ms) || edge_agent__send(agent, request, descriptor)) {
        status = edge_agent__system(agent, "the agent cannot be asked");
        edge_agent__hang_up(agent);
        return status;
    }
    do
        size = recv(agent->socket, agent->reply, sizeof agent->reply, 0);
    while (size < 0 && errno == EINTR);
    if (size <= 0) {
        int late = size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
        /* An answer that comes later must not be taken for that of the next request. */
        edge_agent__hang_up(agent);
        if (late)
            return edge_agent__failed(agent, EDGE_AGENT_DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED",
                                      "the answer did not come in time; open another connection");
        return edge_agent__failed(agent, EDGE_AGENT_UNAVAILABLE, "UNAVAILABLE", "the agent ended the connection");
    }
    from->bytes = agent->reply;
    from->at = 0;
    from->size = (size_t)size;
    from->cut = 0;
    kind = edge_agent__get(from, 2);
    flags = edge_agent__get(from, 2);
    number = edge_agent__get(from, 4);
    if (from->cut || number != agent->number) {
        edge_agent__hang_up(agent);
        return edge_agent__failed(agent, EDGE_AGENT_INTERNAL, "INTERNAL", "the reply is to another request");
    }
    if (kind == 0xFF)
        status = edge_agent__error(agent, from);
    if (flags & 1) {
        char word[sizeof agent->word], error[sizeof agent->error];
        memcpy(word, agent->word, sizeof word);
        memcpy(error, agent->error, sizeof error);
        if (edge_agent_resize(agent, agent->memory_size) != EDGE_AGENT_OK)
            edge_agent__hang_up(agent);
        memcpy(agent->word, word, sizeof word);
        memcpy(agent->error, error, sizeof error);
    }
    return status;
}

static inline uint32_t edge_agent__patience(uint32_t timeout_ms)
{
    uint32_t own = timeout_ms ? timeout_ms : 10000;
    return own > UINT32_MAX - EDGE_AGENT_WAY_BACK_MS ? own : own + EDGE_AGENT_WAY_BACK_MS;
}

static inline int edge_agent__garbled(edge_agent *agent)
{
    edge_agent__hang_up(agent);
    return edge_agent__failed(agent, EDGE_AGENT_INTERNAL, "INTERNAL", "the reply makes no sense");
}

/* Closes the connection; the lent memory goes with it. */
static inline void edge_agent_close(edge_agent *agent)
{
    if (!agent)
        return;
    edge_agent__hang_up(agent);
    if (agent->memory)
        munmap(agent->memory, agent->memory_size);
    free(agent);
}

/* Lends new memory in place of the old, which is forgotten with all that it holds. */
static inline int edge_agent_resize(edge_agent *agent, size_t memory_bytes)
{
    enum { F_ADD_SEALS_ = 1033, SEAL_SEAL_ = 1, SEAL_SHRINK_ = 2, SEAL_GROW_ = 4 };
    int descriptor = (int)syscall(SYS_memfd_create, "edge-agent-client", 3U /* MFD_CLOEXEC | MFD_ALLOW_SEALING */);
    void *memory = MAP_FAILED;
    edge_agent__cursor request, reply;
    int status;
    if (descriptor >= 0 && !ftruncate(descriptor, (off_t)memory_bytes) &&
        !fcntl(descriptor, F_ADD_SEALS_, SEAL_SEAL_ | SEAL_SHRINK_ | SEAL_GROW_))
        memory = mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (memory == MAP_FAILED) {
        status = edge_agent__system(agent, "memory cannot be shared");
        if (descriptor >= 0)
            close(descriptor);
        return status;
    }
    request = edge_agent__begin(agent, 2);
    status = edge_agent__ask(agent, &request, descriptor, 10000, &reply);
    close(descriptor);
    if (status != EDGE_AGENT_OK) {
        munmap(memory, memory_bytes);
        return status;
    }
    if (agent->memory)
        munmap(agent->memory, agent->memory_size);
    agent->memory = (unsigned char *)memory;
    agent->memory_size = memory_bytes;
    return EDGE_AGENT_OK;
}

/* Connects and lends `memory_bytes` (only pages that are written take any). NULL with errno: nobody answers there. */
static inline edge_agent *edge_agent_open(const char *path, size_t memory_bytes)
{
    struct sockaddr_un address;
    edge_agent__cursor request, reply;
    edge_agent *agent = (edge_agent *)calloc(1, sizeof *agent);
    if (!agent)
        return NULL;
    agent->socket = -1;
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    if (strlen(path) >= sizeof address.sun_path) {
        free(agent);
        errno = ENAMETOOLONG;
        return NULL;
    }
    strcpy(address.sun_path, path);
    agent->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (agent->socket < 0 || connect(agent->socket, (struct sockaddr *)&address, sizeof address)) {
        int number = errno;
        edge_agent_close(agent);
        errno = number;
        return NULL;
    }
    request = edge_agent__begin(agent, 1);
    edge_agent__put_string(&request, "EDGEFAST");
    edge_agent__put(&request, 1, 2); /* the lowest and the highest version that is spoken here */
    edge_agent__put(&request, 1, 2);
    edge_agent__put(&request, 0, 4);
    if (edge_agent__ask(agent, &request, -1, 10000, &reply) != EDGE_AGENT_OK ||
        edge_agent_resize(agent, memory_bytes) != EDGE_AGENT_OK) {
        edge_agent_close(agent);
        errno = EPROTO;
        return NULL;
    }
    return agent;
}

/* The lent memory; ask again after a call that failed. */
static inline void *edge_agent_memory(const edge_agent *agent)
{
    return agent->memory;
}

/* What went wrong in the last call: the agent's stable word and what was expected and came. */
static inline const char *edge_agent_error(const edge_agent *agent)
{
    return agent->error;
}

static inline const char *edge_agent_word(const edge_agent *agent)
{
    return agent->word;
}

static inline void edge_agent__put_tensor(edge_agent__cursor *to, const edge_agent_tensor *tensor)
{
    if (tensor->dimensions > EDGE_AGENT_DIMENSIONS) {
        to->cut = 1;
        return;
    }
    edge_agent__put(to, (uint64_t)tensor->dtype, 1);
    edge_agent__put(to, tensor->dimensions, 1);
    edge_agent__put_length(to, tensor->name);
    edge_agent__put(to, 0, 4);
    edge_agent__put(to, tensor->offset, 8);
    edge_agent__put(to, tensor->size, 8);
    for (unsigned i = 0; i < tensor->dimensions; i++)
        edge_agent__put(to, (uint64_t)tensor->shape[i], 8);
}

static inline uint64_t edge_agent__get_tensor(edge_agent__cursor *from, edge_agent_tensor *tensor)
{
    uint64_t length;
    tensor->dtype = (edge_agent_dtype)edge_agent__get(from, 1);
    tensor->dimensions = (unsigned)edge_agent__get(from, 1);
    length = edge_agent__get(from, 2);
    edge_agent__get(from, 4);
    tensor->offset = edge_agent__get(from, 8);
    tensor->size = edge_agent__get(from, 8);
    if (tensor->dimensions > EDGE_AGENT_DIMENSIONS)
        from->cut = 1;
    for (unsigned i = 0; !from->cut && i < tensor->dimensions; i++)
        tensor->shape[i] = (int64_t)edge_agent__get(from, 8);
    return length;
}

/* Asks a model; its inputs lie in the lent memory, its outputs are written there. */
static inline int edge_agent_infer(edge_agent *agent, const edge_agent_request *asked, edge_agent_answer *answer)
{
    edge_agent__cursor to = edge_agent__begin(agent, 3), from;
    uint64_t model, version, names[EDGE_AGENT_TENSORS];
    int status;
    memset(answer, 0, sizeof *answer);
    edge_agent__put(&to, (uint64_t)asked->timeout_ms * 1000, 8);
    edge_agent__put(&to, asked->output_offset, 8);
    edge_agent__put(&to, asked->output_size, 8);
    edge_agent__put_length(&to, asked->model);
    edge_agent__put_length(&to, asked->version);
    edge_agent__put(&to, asked->may_wait != 0, 1);
    edge_agent__put(&to, asked->input_count, 1);
    edge_agent__put(&to, 0, 2);
    if (asked->input_count > EDGE_AGENT_TENSORS)
        to.cut = 1;
    for (unsigned i = 0; !to.cut && i < asked->input_count; i++)
        edge_agent__put_tensor(&to, &asked->inputs[i]);
    edge_agent__put_string(&to, asked->model);
    edge_agent__put_string(&to, asked->version);
    for (unsigned i = 0; !to.cut && i < asked->input_count; i++)
        edge_agent__put_string(&to, asked->inputs[i].name);
    status = edge_agent__ask(agent, &to, -1, edge_agent__patience(asked->timeout_ms), &from);
    if (status != EDGE_AGENT_OK)
        return status;
    model = edge_agent__get(&from, 2);
    version = edge_agent__get(&from, 2);
    answer->output_count = (unsigned)edge_agent__get(&from, 1);
    edge_agent__get(&from, 1);
    edge_agent__get(&from, 2);
    if (answer->output_count > EDGE_AGENT_TENSORS)
        return edge_agent__garbled(agent);
    for (unsigned i = 0; i < answer->output_count; i++)
        names[i] = edge_agent__get_tensor(&from, &agent->outputs[i]);
    answer->model = edge_agent__get_string(agent, &from, model);
    answer->version = edge_agent__get_string(agent, &from, version);
    for (unsigned i = 0; !from.cut && i < answer->output_count; i++) {
        const edge_agent_tensor *output = &agent->outputs[i];
        agent->outputs[i].name = edge_agent__get_string(agent, &from, names[i]);
        if (output->size > agent->memory_size || output->offset > agent->memory_size - output->size)
            from.cut = 1;
    }
    answer->outputs = agent->outputs;
    return from.cut ? edge_agent__garbled(agent) : EDGE_AGENT_OK;
}

static inline int edge_agent__get_results(edge_agent *agent, edge_agent__cursor *from, edge_agent_frame *frame)
{
    uint64_t id, message, lengths[EDGE_AGENT_RESULTS][6];
    frame->milliseconds = edge_agent__get_double(from);
    frame->width = (uint32_t)edge_agent__get(from, 4);
    frame->height = (uint32_t)edge_agent__get(from, 4);
    id = edge_agent__get(from, 2);
    message = edge_agent__get(from, 2);
    frame->verdict = (edge_agent_verdict)edge_agent__get(from, 1);
    if (frame->verdict > EDGE_AGENT_VERDICT_NG)
        frame->verdict = EDGE_AGENT_NO_RESULT;
    frame->result_count = (unsigned)edge_agent__get(from, 1);
    edge_agent__get(from, 2);
    frame->results = agent->results;
    for (unsigned i = 0; !from->cut && i < frame->result_count; i++) {
        edge_agent_result *result = &agent->results[i];
        unsigned flags;
        result->score = edge_agent__get_double(from);
        result->threshold = edge_agent__get_double(from);
        result->area = edge_agent__get_double(from);
        result->milliseconds = edge_agent__get_double(from);
        result->mask_offset = edge_agent__get(from, 8);
        result->mask_size = edge_agent__get(from, 8);
        result->heat_map_offset = edge_agent__get(from, 8);
        result->heat_map_size = edge_agent__get(from, 8);
        result->verdict = (edge_agent_verdict)edge_agent__get(from, 1);
        if (result->verdict > EDGE_AGENT_VERDICT_NG)
            result->verdict = EDGE_AGENT_NO_RESULT;
        flags = (unsigned)edge_agent__get(from, 1);
        result->mask_left_out = (flags & 1) != 0;
        result->heat_map_left_out = (flags & 2) != 0;
        result->skipped = (flags & 4) != 0;
        for (unsigned word = 0; word < 6; word++)
            lengths[i][word] = edge_agent__get(from, word == 5 ? 4 : 2);
    }
    frame->id = edge_agent__get_string(agent, from, id);
    frame->message = edge_agent__get_string(agent, from, message);
    for (unsigned i = 0; !from->cut && i < frame->result_count; i++) {
        edge_agent_result *result = &agent->results[i];
        const char **words[6] = {&result->application, &result->model, &result->version,
                                 &result->kind,        &result->label, &result->message};
        for (unsigned word = 0; word < 6; word++)
            *words[word] = edge_agent__get_string(agent, from, lengths[i][word]);
    }
    return from->cut ? edge_agent__garbled(agent) : EDGE_AGENT_OK;
}

/* Inspects a picture that lies in the lent memory. Trouble with a model is NO_RESULT with a message, no error. */
static inline int edge_agent_inspect(edge_agent *agent, const edge_agent_picture *asked, edge_agent_frame *frame)
{
    edge_agent__cursor to = edge_agent__begin(agent, 4), from;
    int status;
    memset(frame, 0, sizeof *frame);
    edge_agent__put(&to, (uint64_t)asked->timeout_ms * 1000, 8);
    edge_agent__put(&to, asked->offset, 8);
    edge_agent__put(&to, asked->size, 8);
    edge_agent__put(&to, asked->drawn_offset, 8);
    edge_agent__put(&to, asked->drawn_size, 8);
    edge_agent__put(&to, asked->width, 4);
    edge_agent__put(&to, asked->height, 4);
    edge_agent__put_length(&to, asked->source);
    edge_agent__put_length(&to, asked->frame_name);
    edge_agent__put(&to, asked->may_wait != 0, 1);
    edge_agent__put(&to, (asked->with_mask ? 1U : 0U) | (asked->with_heat_map ? 2U : 0U), 1);
    edge_agent__put(&to, asked->application_count, 1);
    edge_agent__put(&to, 0, 1);
    if (asked->application_count > 255)
        to.cut = 1;
    for (unsigned i = 0; !to.cut && i < asked->application_count; i++)
        edge_agent__put_length(&to, asked->applications[i]);
    edge_agent__put_string(&to, asked->source);
    edge_agent__put_string(&to, asked->frame_name);
    for (unsigned i = 0; !to.cut && i < asked->application_count; i++)
        edge_agent__put_string(&to, asked->applications[i]);
    status = edge_agent__ask(agent, &to, -1, edge_agent__patience(asked->timeout_ms), &from);
    return status == EDGE_AGENT_OK ? edge_agent__get_results(agent, &from, frame) : status;
}

#endif
