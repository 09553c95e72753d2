--
-- PostgreSQL database dump
--


-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: measurements; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.measurements (
    id integer NOT NULL,
    trial_id integer NOT NULL,
    started_at timestamp without time zone NOT NULL,
    finished_at timestamp without time zone NOT NULL,
    load json NOT NULL
);


--
-- Name: measurements_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.measurements_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: measurements_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.measurements_id_seq OWNED BY public.measurements.id;


--
-- Name: studies; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.studies (
    id integer NOT NULL,
    name character varying(200) NOT NULL,
    spec text NOT NULL,
    folder text NOT NULL,
    searcher character varying(100) NOT NULL,
    seed integer NOT NULL,
    trials integer NOT NULL,
    fingerprint json NOT NULL,
    emulated character varying(200),
    created_at timestamp without time zone NOT NULL
);


--
-- Name: studies_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.studies_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: studies_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.studies_id_seq OWNED BY public.studies.id;


--
-- Name: trials; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.trials (
    id integer NOT NULL,
    study_id integer NOT NULL,
    number integer NOT NULL,
    purpose character varying(20) NOT NULL,
    state character varying(20) NOT NULL,
    "position" integer NOT NULL,
    config json NOT NULL,
    usd_per_hour double precision,
    value double precision,
    metrics json,
    reason text,
    reported integer,
    rate_low_rps double precision,
    rate_high_rps double precision,
    ended text,
    client_limited boolean NOT NULL,
    enforcements json NOT NULL,
    hostname character varying(255),
    settings json NOT NULL,
    emulated boolean NOT NULL,
    in_place boolean,
    ended_early boolean,
    overhead json,
    lost text,
    started_at timestamp without time zone NOT NULL,
    finished_at timestamp without time zone
);


--
-- Name: trials_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.trials_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: trials_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.trials_id_seq OWNED BY public.trials.id;


--
-- Name: measurements id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.measurements ALTER COLUMN id SET DEFAULT nextval('public.measurements_id_seq'::regclass);


--
-- Name: studies id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.studies ALTER COLUMN id SET DEFAULT nextval('public.studies_id_seq'::regclass);


--
-- Name: trials id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.trials ALTER COLUMN id SET DEFAULT nextval('public.trials_id_seq'::regclass);


--
-- Data for Name: measurements; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.measurements VALUES (1, 1, '1970-01-01 00:00:00', '1970-01-01 00:00:10', '{"mode": "closed", "concurrency": 4, "requested_rps": null, "achieved_rps": 320.0, "duration_s": 10.0, "completed": 3200, "errors": 0, "error_rate": 0.0, "steady": true, "overloaded": false, "client_cpu_share": 0.1, "client_lag_ms": 0.1, "client_limited": false, "warmup_s": 0.0, "started_at": 0.0, "ended_at": 10.0, "rate_low_rps": null, "rate_high_rps": null, "usage": null, "senders": 1, "p50_ms": 20.015, "p75_ms": 20.015, "p90_ms": 20.015, "p95_ms": 30.015, "p99_ms": 30.015, "p999_ms": 30.015, "mean_ms": 21.000000000000004, "max_ms": 30.0, "histogram": "HISTFAAAACd4nJNpmSzMwMDAzgABzFCaEURcm7yEwf4DROBw8BbG+5wiAH81B1U=", "rate_rps": 320.0}');
INSERT INTO public.measurements VALUES (2, 2, '1970-01-01 00:00:00', '1970-01-01 00:00:10', '{"mode": "closed", "concurrency": 4, "requested_rps": null, "achieved_rps": 226.27416997969522, "duration_s": 10.0, "completed": 2263, "errors": 0, "error_rate": 0.0, "steady": true, "overloaded": false, "client_cpu_share": 0.1, "client_lag_ms": 0.1, "client_limited": false, "warmup_s": 0.0, "started_at": 0.0, "ended_at": 10.0, "rate_low_rps": null, "rate_high_rps": null, "usage": null, "senders": 1, "p50_ms": 20.015, "p75_ms": 20.015, "p90_ms": 20.015, "p95_ms": 30.015, "p99_ms": 30.015, "p999_ms": 30.015, "mean_ms": 21.000000000000004, "max_ms": 30.0, "histogram": "HISTFAAAACd4nJNpmSzMwMDAzgABzFCaEURcm7yEwf4DROBw8BbG+5wiAH81B1U=", "rate_rps": 226.27416997969522}');
INSERT INTO public.measurements VALUES (3, 4, '1970-01-01 00:00:00', '1970-01-01 00:00:10', '{"mode": "closed", "concurrency": 4, "requested_rps": null, "achieved_rps": 113.13708498984761, "duration_s": 10.0, "completed": 1131, "errors": 0, "error_rate": 0.0, "steady": true, "overloaded": false, "client_cpu_share": 0.1, "client_lag_ms": 0.1, "client_limited": false, "warmup_s": 0.0, "started_at": 0.0, "ended_at": 10.0, "rate_low_rps": null, "rate_high_rps": null, "usage": null, "senders": 1, "p50_ms": 20.015, "p75_ms": 20.015, "p90_ms": 20.015, "p95_ms": 30.015, "p99_ms": 30.015, "p999_ms": 30.015, "mean_ms": 21.000000000000004, "max_ms": 30.0, "histogram": "HISTFAAAACd4nJNpmSzMwMDAzgABzFCaEURcm7yEwf4DROBw8BbG+5wiAH81B1U=", "rate_rps": 113.13708498984761}');
INSERT INTO public.measurements VALUES (4, 5, '1970-01-01 00:00:00', '1970-01-01 00:00:10', '{"mode": "closed", "concurrency": 4, "requested_rps": null, "achieved_rps": 56.568542494923804, "duration_s": 10.0, "completed": 566, "errors": 0, "error_rate": 0.0, "steady": true, "overloaded": false, "client_cpu_share": 0.1, "client_lag_ms": 0.1, "client_limited": false, "warmup_s": 0.0, "started_at": 0.0, "ended_at": 10.0, "rate_low_rps": null, "rate_high_rps": null, "usage": null, "senders": 1, "p50_ms": 20.015, "p75_ms": 20.015, "p90_ms": 20.015, "p95_ms": 30.015, "p99_ms": 30.015, "p999_ms": 30.015, "mean_ms": 21.000000000000004, "max_ms": 30.0, "histogram": "HISTFAAAACd4nJNpmSzMwMDAzgABzFCaEURcm7yEwf4DROBw8BbG+5wiAH81B1U=", "rate_rps": 56.568542494923804}');


--
-- Data for Name: studies; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.studies VALUES (1, 'known', 'name: known
model: {build: "cluster.emulated:model", args: {profile: bert-base}}
samples: [x]
knobs: {cpu_cores: [1, 2, 4], max_batch_size: [1, 4, 16, 64], batch_wait_ms: [0, 5], MODE: {kind: env, values: [a]}}
default: {cpu_cores: 2, max_batch_size: 1, batch_wait_ms: 0, MODE: a}
objective: {maximize: rps / usd_per_hour}
facts: {parameters_million: 110}
budget: {trials: 24, compare_s: 1000}
load: {level_max_s: 5, find: peak}
prices: book.yaml
', '/tmp/earlier', 'random', 0, 24, '{"model": {"build": "cluster.emulated:model", "path": null, "loader": null, "args": {"profile": "bert-base"}}, "samples": "d4ef6b629cece795", "knobs": {"cpu_cores": [1, 2, 4], "max_batch_size": [1, 4, 16, 64], "batch_wait_ms": [0, 5], "MODE": ["a"]}, "configurations": [24, "f3d2468ab15aaf24"], "objective": ["rps / usd_per_hour", false, {}], "limits": {}, "trace": null, "load": {"find": "peak", "arrivals": "poisson", "precision": 0.05, "level_min_s": 1.0, "level_max_s": 5.0, "total_max_s": 60.0, "max_concurrency": 512, "rate_precision": 0.05}, "facts": {"parameters_million": 110.0}, "prices": "3f0598bea49e9986"}', NULL, '2026-01-01 00:00:00.00001');


--
-- Data for Name: trials; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.trials VALUES (1, 1, 1, 'search', 'finished', 20, '{"cpu_cores": 4, "max_batch_size": 16, "batch_wait_ms": 0, "MODE": "a"}', 2, 160, '{"rps": 320.0, "p50_ms": 20.015, "p75_ms": 20.015, "p90_ms": 20.015, "p95_ms": 30.015, "p99_ms": 30.015, "p999_ms": 30.015, "mean_ms": 21.000000000000004, "max_ms": 30.0, "error_rate": 0.0}', NULL, 0, 316.8, 323.2, 'it is known', false, '[{"limit": "load on other cores", "asked": "yes", "enforced": true, "how": "pinned"}]', 'fake', '{"cpu_cores": 4, "gpu_type": null, "node_labels": {}, "mps": false, "gpu_share": 0.0, "gpu_memory": 0.0, "gpu_memory_gib": null, "max_batch_size": 16, "batch_wait_ms": 0, "threads": null, "precision": "float32", "env": {"MODE": "a"}, "args": {"profile": "bert-base"}, "emulated": true}', true, false, false, '{"deploy": 0.0, "load": 0.0, "leave": 8.452999963992625e-06}', NULL, '2026-01-01 00:00:00.00002', '2026-01-01 00:00:10.00003');
INSERT INTO public.trials VALUES (2, 1, 2, 'search', 'finished', 12, '{"cpu_cores": 2, "max_batch_size": 16, "batch_wait_ms": 0, "MODE": "a"}', 1, 226.27416997969522, '{"rps": 226.27416997969522, "p50_ms": 20.015, "p75_ms": 20.015, "p90_ms": 20.015, "p95_ms": 30.015, "p99_ms": 30.015, "p999_ms": 30.015, "mean_ms": 21.000000000000004, "max_ms": 30.0, "error_rate": 0.0}', NULL, 0, 224.01142827989827, 228.53691167949216, 'it is known', false, '[{"limit": "load on other cores", "asked": "yes", "enforced": true, "how": "pinned"}]', 'fake', '{"cpu_cores": 2, "gpu_type": null, "node_labels": {}, "mps": false, "gpu_share": 0.0, "gpu_memory": 0.0, "gpu_memory_gib": null, "max_batch_size": 16, "batch_wait_ms": 0, "threads": null, "precision": "float32", "env": {"MODE": "a"}, "args": {"profile": "bert-base"}, "emulated": true}', true, false, false, '{"deploy": 0.0, "load": 0.0, "leave": 6.243000029826362e-06}', NULL, '2026-01-01 00:00:10.00004', '2026-01-01 00:00:20.00005');
INSERT INTO public.trials VALUES (3, 1, 3, 'search', 'finished', 23, '{"cpu_cores": 4, "max_batch_size": 64, "batch_wait_ms": 5, "MODE": "a"}', 2, NULL, NULL, 'OutOfMemory: 64 do not fit', NULL, NULL, NULL, NULL, false, '[]', NULL, '{"cpu_cores": 4, "gpu_type": null, "node_labels": {}, "mps": false, "gpu_share": 0.0, "gpu_memory": 0.0, "gpu_memory_gib": null, "max_batch_size": 64, "batch_wait_ms": 5, "threads": null, "precision": "float32", "env": {"MODE": "a"}, "args": {"profile": "bert-base"}, "emulated": true}', true, NULL, NULL, '{}', NULL, '2026-01-01 00:00:20.00006', '2026-01-01 00:00:20.00007');
INSERT INTO public.trials VALUES (4, 1, 4, 'search', 'finished', 10, '{"cpu_cores": 2, "max_batch_size": 4, "batch_wait_ms": 0, "MODE": "a"}', 1, 113.13708498984761, '{"rps": 113.13708498984761, "p50_ms": 20.015, "p75_ms": 20.015, "p90_ms": 20.015, "p95_ms": 30.015, "p99_ms": 30.015, "p999_ms": 30.015, "mean_ms": 21.000000000000004, "max_ms": 30.0, "error_rate": 0.0}', NULL, 0, 112.00571413994913, 114.26845583974608, 'it is known', false, '[{"limit": "load on other cores", "asked": "yes", "enforced": true, "how": "pinned"}]', 'fake', '{"cpu_cores": 2, "gpu_type": null, "node_labels": {}, "mps": false, "gpu_share": 0.0, "gpu_memory": 0.0, "gpu_memory_gib": null, "max_batch_size": 4, "batch_wait_ms": 0, "threads": null, "precision": "float32", "env": {"MODE": "a"}, "args": {"profile": "bert-base"}, "emulated": true}', true, false, false, '{"deploy": 0.0, "load": 0.0, "leave": 7.253000035234436e-06}', NULL, '2026-01-01 00:00:20.00008', '2026-01-01 00:00:30.00009');
INSERT INTO public.trials VALUES (5, 1, 5, 'search', 'finished', 9, '{"cpu_cores": 2, "max_batch_size": 1, "batch_wait_ms": 5, "MODE": "a"}', 1, 56.568542494923804, '{"rps": 56.568542494923804, "p50_ms": 20.015, "p75_ms": 20.015, "p90_ms": 20.015, "p95_ms": 30.015, "p99_ms": 30.015, "p999_ms": 30.015, "mean_ms": 21.000000000000004, "max_ms": 30.0, "error_rate": 0.0}', NULL, 0, 56.00285706997457, 57.13422791987304, 'it is known', false, '[{"limit": "load on other cores", "asked": "yes", "enforced": true, "how": "pinned"}]', 'fake', '{"cpu_cores": 2, "gpu_type": null, "node_labels": {}, "mps": false, "gpu_share": 0.0, "gpu_memory": 0.0, "gpu_memory_gib": null, "max_batch_size": 1, "batch_wait_ms": 5, "threads": null, "precision": "float32", "env": {"MODE": "a"}, "args": {"profile": "bert-base"}, "emulated": true}', true, false, false, '{"deploy": 0.0, "load": 0.0, "leave": 5.932000021857675e-06}', NULL, '2026-01-01 00:00:30.0001', '2026-01-01 00:00:40.00011');
INSERT INTO public.trials VALUES (6, 1, 6, 'search', 'running', 16, '{"cpu_cores": 4, "max_batch_size": 1, "batch_wait_ms": 0, "MODE": "a"}', 2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, false, '[]', NULL, '{}', true, NULL, NULL, NULL, NULL, '2026-01-01 00:00:40.00012', NULL);


--
-- Name: measurements_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.measurements_id_seq', 4, true);


--
-- Name: studies_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.studies_id_seq', 1, true);


--
-- Name: trials_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.trials_id_seq', 6, true);


--
-- Name: measurements measurements_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.measurements
    ADD CONSTRAINT measurements_pkey PRIMARY KEY (id);


--
-- Name: studies studies_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.studies
    ADD CONSTRAINT studies_pkey PRIMARY KEY (id);


--
-- Name: trials trials_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.trials
    ADD CONSTRAINT trials_pkey PRIMARY KEY (id);


--
-- Name: trials trials_study_id_number_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.trials
    ADD CONSTRAINT trials_study_id_number_key UNIQUE (study_id, number);


--
-- Name: ix_measurements_trial_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_measurements_trial_id ON public.measurements USING btree (trial_id);


--
-- Name: ix_trials_study_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_trials_study_id ON public.trials USING btree (study_id);


--
-- Name: measurements measurements_trial_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.measurements
    ADD CONSTRAINT measurements_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(id);


--
-- Name: trials trials_study_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.trials
    ADD CONSTRAINT trials_study_id_fkey FOREIGN KEY (study_id) REFERENCES public.studies(id);


--
-- PostgreSQL database dump complete
--


