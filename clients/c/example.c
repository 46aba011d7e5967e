/* Asks the agent from C: `example SOCKET inspect FILE` or `example SOCKET infer MODEL SHAPE GREY`.
 *
 *     cc -std=c99 -Wall -Wextra -Werror -o example example.c
 *     ./example /run/edge-agent/fast.sock inspect part.jpg
 *     ./example /run/edge-agent/fast.sock infer img-classification 1x224x224x3 128
 */
#include "edge_agent.h"

enum { MEMORY_BYTES = 32 << 20, DRAWN_BYTES = 8 << 20, TIMEOUT_MS = 30000 };

static const char *verdict(edge_agent_verdict verdict)
{
    return verdict == EDGE_AGENT_VERDICT_OK ? "OK" : verdict == EDGE_AGENT_VERDICT_NG ? "NG" : "NO_RESULT";
}

static int complain(const edge_agent *agent, int status)
{
    fprintf(stderr, "%d %s\n", status, edge_agent_error(agent));
    return 1;
}

static int inspect(edge_agent *agent, const char *path)
{
    edge_agent_picture picture = {.drawn_offset = MEMORY_BYTES - DRAWN_BYTES, .drawn_size = DRAWN_BYTES};
    edge_agent_frame frame;
    FILE *file = fopen(path, "rb");
    int status;
    if (!file) {
        perror(path);
        return 1;
    }
    picture.size = fread(edge_agent_memory(agent), 1, MEMORY_BYTES - DRAWN_BYTES, file);
    fclose(file);
    picture.with_mask = 1;
    picture.source = "example.c";
    picture.frame_name = path;
    picture.timeout_ms = TIMEOUT_MS;
    status = edge_agent_inspect(agent, &picture, &frame);
    if (status != EDGE_AGENT_OK)
        return complain(agent, status);
    printf("%s %ux%u %s\n", verdict(frame.verdict), frame.width, frame.height, frame.message);
    for (unsigned i = 0; i < frame.result_count; i++) {
        const edge_agent_result *result = &frame.results[i];
        printf("%s %s %s %s %.17g %.17g %.17g %s mask %llu\n", result->application, result->model, result->version,
               verdict(result->verdict), result->score, result->threshold, result->area, result->label,
               (unsigned long long)result->mask_size);
    }
    return 0;
}

static int infer(edge_agent *agent, const char *model, const char *shape, int grey)
{
    edge_agent_tensor image = {.name = "image", .dtype = EDGE_AGENT_UINT8, .size = 1};
    edge_agent_request request = {.model = model, .inputs = &image, .input_count = 1, .timeout_ms = TIMEOUT_MS};
    edge_agent_answer answer;
    int status;
    for (const char *at = shape; *at && image.dimensions < EDGE_AGENT_DIMENSIONS; at += *at == 'x') {
        char *end;
        image.shape[image.dimensions] = strtoll(at, &end, 10);
        image.size *= (uint64_t)image.shape[image.dimensions++];
        at = end;
    }
    request.output_offset = MEMORY_BYTES - DRAWN_BYTES;
    request.output_size = DRAWN_BYTES;
    if (image.size <= request.output_offset)
        memset(edge_agent_memory(agent), grey, image.size);
    status = edge_agent_infer(agent, &request, &answer);
    if (status != EDGE_AGENT_OK)
        return complain(agent, status);
    printf("%s %s\n", answer.model, answer.version);
    for (unsigned i = 0; i < answer.output_count; i++) {
        const unsigned char *bytes = (const unsigned char *)edge_agent_memory(agent) + answer.outputs[i].offset;
        printf("%s ", answer.outputs[i].name);
        for (uint64_t at = 0; at < answer.outputs[i].size; at++)
            printf("%02x", bytes[at]);
        printf("\n");
    }
    return 0;
}

int main(int count, char **words)
{
    edge_agent *agent;
    int status = 2;
    if (count < 4) {
        fprintf(stderr, "%s SOCKET inspect FILE | SOCKET infer MODEL SHAPE GREY\n", words[0]);
        return status;
    }
    agent = edge_agent_open(words[1], MEMORY_BYTES);
    if (!agent) {
        perror(words[1]);
        return 1;
    }
    if (!strcmp(words[2], "inspect"))
        status = inspect(agent, words[3]);
    else if (!strcmp(words[2], "infer") && count == 6)
        status = infer(agent, words[3], words[4], atoi(words[5]));
    edge_agent_close(agent);
    return status;
}
