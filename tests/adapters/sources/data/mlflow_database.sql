BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('dc11669786a5');
CREATE TABLE "datasets" (
	dataset_uuid VARCHAR(36) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	name VARCHAR(500) NOT NULL, 
	digest VARCHAR(36) NOT NULL, 
	dataset_source_type VARCHAR(36) NOT NULL, 
	dataset_source TEXT NOT NULL, 
	dataset_schema TEXT, 
	dataset_profile TEXT, 
	CONSTRAINT dataset_pk PRIMARY KEY (experiment_id, name, digest), 
	CONSTRAINT fk_datasets_experiment_id_experiments FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE
);
INSERT INTO "datasets" VALUES('70f21ad2ba4a4833bd261804df20dc63',1,'rows','92a7ac9c','code','{"tags": {"mlflow.user": "ana", "mlflow.source.name": "make_mlflow.py", "mlflow.source.type": "LOCAL"}}','{"mlflow_tensorspec": {"features": "[{\"type\": \"tensor\", \"tensor-spec\": {\"dtype\": \"int64\", \"shape\": [-1, 2]}}]", "targets": null}}','{"features_shape": [3, 2], "features_size": 6, "features_nbytes": 48}');
CREATE TABLE "experiment_tags" (
	"key" VARCHAR(250) NOT NULL, 
	value TEXT, 
	experiment_id INTEGER NOT NULL, 
	CONSTRAINT experiment_tag_pk PRIMARY KEY ("key", experiment_id), 
	FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id)
);
INSERT INTO "experiment_tags" VALUES('team','blue',1);
INSERT INTO "experiment_tags" VALUES('empty','',1);
CREATE TABLE "experiments" (
	experiment_id INTEGER NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	artifact_location VARCHAR(256), 
	lifecycle_stage VARCHAR(32), 
	creation_time BIGINT, 
	last_update_time BIGINT, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT experiment_pk PRIMARY KEY (experiment_id), 
	CONSTRAINT experiments_lifecycle_stage CHECK (lifecycle_stage IN ('active', 'deleted')), 
	CONSTRAINT uq_experiments_workspace_name UNIQUE (workspace, name)
);
INSERT INTO "experiments" VALUES(0,'Default','/srv/mlflow/database/mlruns/0','active',1795277653665,1795277653665,'default');
INSERT INTO "experiments" VALUES(1,'first','/srv/mlflow/database/mlruns/1','active',1795277653709,1795277653709,'default');
INSERT INTO "experiments" VALUES(2,'old','/srv/mlflow/database/mlruns/2','deleted',1795277674078,1795277674179,'default');
CREATE TABLE input_tags (
	input_uuid VARCHAR(36) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	value VARCHAR(500) NOT NULL, 
	CONSTRAINT input_tags_pk PRIMARY KEY (input_uuid, name)
);
INSERT INTO "input_tags" VALUES('80e7cb32b7f44cbb906a5a5f641f6342','k','v');
INSERT INTO "input_tags" VALUES('80e7cb32b7f44cbb906a5a5f641f6342','mlflow.data.context','training');
CREATE TABLE inputs (
	input_uuid VARCHAR(36) NOT NULL, 
	source_type VARCHAR(36) NOT NULL, 
	source_id VARCHAR(36) NOT NULL, 
	destination_type VARCHAR(36) NOT NULL, 
	destination_id VARCHAR(36) NOT NULL, step BIGINT DEFAULT '0' NOT NULL, 
	CONSTRAINT inputs_pk PRIMARY KEY (source_type, source_id, destination_type, destination_id)
);
INSERT INTO "inputs" VALUES('80e7cb32b7f44cbb906a5a5f641f6342','DATASET','70f21ad2ba4a4833bd261804df20dc63','RUN','851d7b731c894f62afe2bbd7756d8413',0);
INSERT INTO "inputs" VALUES('18cf465c70604584a6c1f677b9722846','RUN_OUTPUT','851d7b731c894f62afe2bbd7756d8413','MODEL_OUTPUT','m-846558d7606b460ba3d3708ec0b47ae7',0);
CREATE TABLE "latest_metrics" (
	"key" VARCHAR(250) NOT NULL, 
	value FLOAT NOT NULL, 
	timestamp BIGINT, 
	step BIGINT NOT NULL, 
	is_nan BOOLEAN NOT NULL, 
	run_uuid VARCHAR(32) NOT NULL, 
	CONSTRAINT latest_metric_pk PRIMARY KEY ("key", run_uuid), 
	FOREIGN KEY(run_uuid) REFERENCES runs (run_uuid), 
	CHECK (is_nan IN (0, 1))
);
INSERT INTO "latest_metrics" VALUES('loss',0.1,1795277654408,9,0,'851d7b731c894f62afe2bbd7756d8413');
INSERT INTO "latest_metrics" VALUES('val/acc',0.0,1795277654450,3,1,'851d7b731c894f62afe2bbd7756d8413');
INSERT INTO "latest_metrics" VALUES('val/inf',1.79769313486231562234e+308,1795277654502,3,0,'851d7b731c894f62afe2bbd7756d8413');
INSERT INTO "latest_metrics" VALUES('val/ninf',-1.79769313486231562234e+308,1795277654540,3,0,'851d7b731c894f62afe2bbd7756d8413');
INSERT INTO "latest_metrics" VALUES('on_model',0.5,1795277673365,1,0,'851d7b731c894f62afe2bbd7756d8413');
INSERT INTO "latest_metrics" VALUES('x',1.0,1795277673573,0,0,'a3f2c86810874ebc8ff6d564a24c3511');
INSERT INTO "latest_metrics" VALUES('m',2.0,1795277674038,0,0,'7e7768e954f848a884e04b8f56308e3c');
CREATE TABLE logged_model_metrics (
	model_id VARCHAR(36) NOT NULL, 
	metric_name VARCHAR(500) NOT NULL, 
	metric_timestamp_ms BIGINT NOT NULL, 
	metric_step BIGINT NOT NULL, 
	metric_value FLOAT, 
	experiment_id INTEGER NOT NULL, 
	run_id VARCHAR(32) NOT NULL, 
	dataset_uuid VARCHAR(36), 
	dataset_name VARCHAR(500), 
	dataset_digest VARCHAR(36), 
	CONSTRAINT logged_model_metrics_pk PRIMARY KEY (model_id, metric_name, metric_timestamp_ms, metric_step, run_id), 
	CONSTRAINT fk_logged_model_metrics_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id), 
	CONSTRAINT fk_logged_model_metrics_model_id FOREIGN KEY(model_id) REFERENCES logged_models (model_id) ON DELETE CASCADE, 
	CONSTRAINT fk_logged_model_metrics_run_id FOREIGN KEY(run_id) REFERENCES runs (run_uuid) ON DELETE CASCADE
);
INSERT INTO "logged_model_metrics" VALUES('m-846558d7606b460ba3d3708ec0b47ae7','loss',1795277653942,0,1.0,1,'851d7b731c894f62afe2bbd7756d8413',NULL,NULL,NULL);
INSERT INTO "logged_model_metrics" VALUES('m-846558d7606b460ba3d3708ec0b47ae7','on_model',1795277673365,1,0.5,1,'851d7b731c894f62afe2bbd7756d8413',NULL,'rows','92a7ac9c');
CREATE TABLE logged_model_params (
	model_id VARCHAR(36) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	param_key VARCHAR(255) NOT NULL, 
	param_value TEXT NOT NULL, 
	CONSTRAINT logged_model_params_pk PRIMARY KEY (model_id, param_key), 
	CONSTRAINT fk_logged_model_params_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id), 
	CONSTRAINT fk_logged_model_params_model_id FOREIGN KEY(model_id) REFERENCES logged_models (model_id) ON DELETE CASCADE
);
INSERT INTO "logged_model_params" VALUES('m-846558d7606b460ba3d3708ec0b47ae7',1,'lr','0.1');
INSERT INTO "logged_model_params" VALUES('m-846558d7606b460ba3d3708ec0b47ae7',1,'nested/name','x');
INSERT INTO "logged_model_params" VALUES('m-846558d7606b460ba3d3708ec0b47ae7',1,'long','yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy');
CREATE TABLE logged_model_tags (
	model_id VARCHAR(36) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	tag_key VARCHAR(255) NOT NULL, 
	tag_value TEXT NOT NULL, 
	CONSTRAINT logged_model_tags_pk PRIMARY KEY (model_id, tag_key), 
	CONSTRAINT fk_logged_model_tags_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id), 
	CONSTRAINT fk_logged_model_tags_model_id FOREIGN KEY(model_id) REFERENCES logged_models (model_id) ON DELETE CASCADE
);
INSERT INTO "logged_model_tags" VALUES('m-846558d7606b460ba3d3708ec0b47ae7',1,'mlflow.user','ana');
INSERT INTO "logged_model_tags" VALUES('m-846558d7606b460ba3d3708ec0b47ae7',1,'mlflow.source.name','make_mlflow.py');
INSERT INTO "logged_model_tags" VALUES('m-846558d7606b460ba3d3708ec0b47ae7',1,'mlflow.source.type','LOCAL');
INSERT INTO "logged_model_tags" VALUES('m-846558d7606b460ba3d3708ec0b47ae7',1,'mlflow.modelVersions','[{"name": "churn", "version": 1}]');
CREATE TABLE logged_models (
	model_id VARCHAR(36) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	name VARCHAR(500) NOT NULL, 
	artifact_location VARCHAR(1000) NOT NULL, 
	creation_timestamp_ms BIGINT NOT NULL, 
	last_updated_timestamp_ms BIGINT NOT NULL, 
	status INTEGER NOT NULL, 
	lifecycle_stage VARCHAR(32), 
	model_type VARCHAR(500), 
	source_run_id VARCHAR(32), 
	status_message VARCHAR(1000), 
	CONSTRAINT logged_models_pk PRIMARY KEY (model_id), 
	CONSTRAINT logged_models_lifecycle_stage_check CHECK (lifecycle_stage IN ('active', 'deleted')), 
	CONSTRAINT fk_logged_models_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE
);
INSERT INTO "logged_models" VALUES('m-846558d7606b460ba3d3708ec0b47ae7',1,'model','/srv/mlflow/database/mlruns/1/models/m-846558d7606b460ba3d3708ec0b47ae7/artifacts',1795277654783,1795277672988,2,'active',NULL,'851d7b731c894f62afe2bbd7756d8413',NULL);
CREATE TABLE "metrics" (
	"key" VARCHAR(250) NOT NULL, 
	value FLOAT NOT NULL, 
	timestamp BIGINT NOT NULL, 
	run_uuid VARCHAR(32) NOT NULL, 
	step BIGINT DEFAULT '0' NOT NULL, 
	is_nan BOOLEAN DEFAULT '0' NOT NULL, 
	CONSTRAINT metric_pk PRIMARY KEY ("key", timestamp, step, run_uuid, value, is_nan), 
	FOREIGN KEY(run_uuid) REFERENCES runs (run_uuid), 
	CHECK (is_nan IN (0, 1))
);
INSERT INTO "metrics" VALUES('loss',1.0,1795277653942,'851d7b731c894f62afe2bbd7756d8413',0,0);
INSERT INTO "metrics" VALUES('loss',0.5,1795277653996,'851d7b731c894f62afe2bbd7756d8413',1,0);
INSERT INTO "metrics" VALUES('loss',3.33333333333333314829e-01,1795277654054,'851d7b731c894f62afe2bbd7756d8413',2,0);
INSERT INTO "metrics" VALUES('loss',0.25,1795277654104,'851d7b731c894f62afe2bbd7756d8413',3,0);
INSERT INTO "metrics" VALUES('loss',0.2,1795277654149,'851d7b731c894f62afe2bbd7756d8413',4,0);
INSERT INTO "metrics" VALUES('loss',1.66666666666666657414e-01,1795277654204,'851d7b731c894f62afe2bbd7756d8413',5,0);
INSERT INTO "metrics" VALUES('loss',1.42857142857142849212e-01,1795277654256,'851d7b731c894f62afe2bbd7756d8413',6,0);
INSERT INTO "metrics" VALUES('loss',0.125,1795277654310,'851d7b731c894f62afe2bbd7756d8413',7,0);
INSERT INTO "metrics" VALUES('loss',1.11111111111111104943e-01,1795277654364,'851d7b731c894f62afe2bbd7756d8413',8,0);
INSERT INTO "metrics" VALUES('loss',0.1,1795277654408,'851d7b731c894f62afe2bbd7756d8413',9,0);
INSERT INTO "metrics" VALUES('val/acc',0.0,1795277654450,'851d7b731c894f62afe2bbd7756d8413',3,1);
INSERT INTO "metrics" VALUES('val/inf',1.79769313486231562234e+308,1795277654502,'851d7b731c894f62afe2bbd7756d8413',3,0);
INSERT INTO "metrics" VALUES('val/ninf',-1.79769313486231562234e+308,1795277654540,'851d7b731c894f62afe2bbd7756d8413',3,0);
INSERT INTO "metrics" VALUES('on_model',0.5,1795277673365,'851d7b731c894f62afe2bbd7756d8413',1,0);
INSERT INTO "metrics" VALUES('x',1.0,1795277673573,'a3f2c86810874ebc8ff6d564a24c3511',0,0);
INSERT INTO "metrics" VALUES('m',2.0,1795277674038,'7e7768e954f848a884e04b8f56308e3c',0,0);
CREATE TABLE "model_version_tags" (
	"key" VARCHAR(250) NOT NULL, 
	value TEXT, 
	name VARCHAR(256) NOT NULL, 
	version INTEGER NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT model_version_tag_pk PRIMARY KEY (workspace, "key", name, version), 
	CONSTRAINT fk_model_version_tags_model_versions FOREIGN KEY(workspace, name, version) REFERENCES model_versions (workspace, name, version) ON UPDATE CASCADE
);
INSERT INTO "model_version_tags" VALUES('q','1','churn',2,'default');
INSERT INTO "model_version_tags" VALUES('x','y','churn',1,'default');
CREATE TABLE "model_versions" (
	name VARCHAR(256) NOT NULL, 
	version INTEGER NOT NULL, 
	creation_time BIGINT, 
	last_updated_time BIGINT, 
	description VARCHAR(5000), 
	user_id VARCHAR(256), 
	current_stage VARCHAR(20), 
	source VARCHAR(500), 
	run_id VARCHAR(32), 
	status VARCHAR(20), 
	status_message VARCHAR(500), 
	run_link VARCHAR(500), 
	storage_location VARCHAR(500), 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT model_version_pk PRIMARY KEY (workspace, name, version), 
	CONSTRAINT fk_model_versions_registered_models FOREIGN KEY(workspace, name) REFERENCES registered_models (workspace, name) ON UPDATE CASCADE
);
INSERT INTO "model_versions" VALUES('churn',1,1795277673192,1795277674668,NULL,NULL,'Production','models:/m-846558d7606b460ba3d3708ec0b47ae7','851d7b731c894f62afe2bbd7756d8413','READY',NULL,NULL,'/srv/mlflow/database/mlruns/1/models/m-846558d7606b460ba3d3708ec0b47ae7/artifacts','default');
INSERT INTO "model_versions" VALUES('churn',2,1795277674429,1795277674740,NULL,NULL,'Deleted_Internal','REDACTED-SOURCE-PATH','REDACTED-RUN-ID','READY',NULL,'REDACTED-RUN-LINK','runs:/851d7b731c894f62afe2bbd7756d8413/notes','default');
INSERT INTO "model_versions" VALUES('churn',3,1795277674779,1795277674779,NULL,NULL,'None','/srv/mlflow/database/mlruns/1/851d7b731c894f62afe2bbd7756d8413/artifacts/notes','851d7b731c894f62afe2bbd7756d8413','READY',NULL,NULL,'/srv/mlflow/database/mlruns/1/851d7b731c894f62afe2bbd7756d8413/artifacts/notes','default');
CREATE TABLE "params" (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(8000) NOT NULL, 
	run_uuid VARCHAR(32) NOT NULL, 
	CONSTRAINT param_pk PRIMARY KEY ("key", run_uuid), 
	FOREIGN KEY(run_uuid) REFERENCES runs (run_uuid)
);
INSERT INTO "params" VALUES('lr','0.1','851d7b731c894f62afe2bbd7756d8413');
INSERT INTO "params" VALUES('nested/name','x','851d7b731c894f62afe2bbd7756d8413');
INSERT INTO "params" VALUES('long','yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy','851d7b731c894f62afe2bbd7756d8413');
INSERT INTO "params" VALUES('p','1','d42a6f8715ce4b69928426c388b2e225');
CREATE TABLE "registered_model_aliases" (
	alias VARCHAR(256) NOT NULL, 
	version INTEGER NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT registered_model_alias_pk PRIMARY KEY (workspace, name, alias), 
	CONSTRAINT fk_registered_model_aliases_registered_models FOREIGN KEY(workspace, name) REFERENCES registered_models (workspace, name) ON DELETE CASCADE ON UPDATE CASCADE
);
INSERT INTO "registered_model_aliases" VALUES('best',1,'churn','default');
CREATE TABLE "registered_model_tags" (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(5000), 
	name VARCHAR(256) NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT registered_model_tag_pk PRIMARY KEY (workspace, "key", name), 
	CONSTRAINT fk_registered_model_tags_registered_models FOREIGN KEY(workspace, name) REFERENCES registered_models (workspace, name) ON UPDATE CASCADE
);
INSERT INTO "registered_model_tags" VALUES('a','b','empty','default');
INSERT INTO "registered_model_tags" VALUES('owner','ana','churn','default');
CREATE TABLE "registered_models" (
	name VARCHAR(256) NOT NULL, 
	creation_time BIGINT, 
	last_updated_time BIGINT, 
	description VARCHAR(5000), 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT registered_model_pk PRIMARY KEY (workspace, name)
);
INSERT INTO "registered_models" VALUES('churn',1795277673097,1795277674779,'about churn','default');
INSERT INTO "registered_models" VALUES('empty',1795277674237,1795277674237,'none yet','default');
CREATE TABLE "runs" (
	run_uuid VARCHAR(32) NOT NULL, 
	name VARCHAR(250), 
	source_type VARCHAR(20), 
	source_name VARCHAR(500), 
	entry_point_name VARCHAR(50), 
	user_id VARCHAR(256), 
	status VARCHAR(9), 
	start_time BIGINT, 
	end_time BIGINT, 
	source_version VARCHAR(50), 
	lifecycle_stage VARCHAR(20), 
	artifact_uri VARCHAR(200), 
	experiment_id INTEGER, deleted_time BIGINT, 
	CONSTRAINT run_pk PRIMARY KEY (run_uuid), 
	CONSTRAINT source_type CHECK (source_type IN ('NOTEBOOK', 'JOB', 'LOCAL', 'UNKNOWN', 'PROJECT')), 
	CONSTRAINT runs_lifecycle_stage CHECK (lifecycle_stage IN ('active', 'deleted')), 
	FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id), 
	CHECK (status IN ('SCHEDULED', 'FAILED', 'FINISHED', 'RUNNING', 'KILLED'))
);
INSERT INTO "runs" VALUES('851d7b731c894f62afe2bbd7756d8413','one','UNKNOWN','','','ana','FINISHED',1795277653791,1795277673680,'','active','/srv/mlflow/database/mlruns/1/851d7b731c894f62afe2bbd7756d8413/artifacts',1,NULL);
INSERT INTO "runs" VALUES('a3f2c86810874ebc8ff6d564a24c3511','child','UNKNOWN','','','ana','FINISHED',1795277673490,1795277673620,'','active','/srv/mlflow/database/mlruns/1/a3f2c86810874ebc8ff6d564a24c3511/artifacts',1,NULL);
INSERT INTO "runs" VALUES('4ec02596654b474f87e31c729f00670b','failed','UNKNOWN','','','unknown','FAILED',1795277673717,1795277673792,'','active','/srv/mlflow/database/mlruns/1/4ec02596654b474f87e31c729f00670b/artifacts',1,NULL);
INSERT INTO "runs" VALUES('d42a6f8715ce4b69928426c388b2e225','gone','UNKNOWN','','','unknown','RUNNING',1795277673840,NULL,'','deleted','/srv/mlflow/database/mlruns/1/d42a6f8715ce4b69928426c388b2e225/artifacts',1,1795277673952);
INSERT INTO "runs" VALUES('7e7768e954f848a884e04b8f56308e3c','going','UNKNOWN','','','unknown','RUNNING',1795277673974,NULL,'','active','/srv/mlflow/database/mlruns/1/7e7768e954f848a884e04b8f56308e3c/artifacts',1,NULL);
INSERT INTO "runs" VALUES('4e79b50d1c17422f889d548ac39fb7e9','of old','UNKNOWN','','','unknown','RUNNING',1795277674112,NULL,'','deleted','/srv/mlflow/database/mlruns/2/4e79b50d1c17422f889d548ac39fb7e9/artifacts',2,1795277674197);
CREATE TABLE "spans" (
	trace_id VARCHAR(50) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	span_id VARCHAR(50) NOT NULL, 
	parent_span_id VARCHAR(50), 
	name TEXT, 
	type VARCHAR(500), 
	status VARCHAR(50) NOT NULL, 
	start_time_unix_nano BIGINT NOT NULL, 
	end_time_unix_nano BIGINT, 
	duration_ns BIGINT GENERATED ALWAYS AS (end_time_unix_nano - start_time_unix_nano) STORED, 
	content TEXT NOT NULL, 
	input_cost FLOAT, 
	output_cost FLOAT, 
	total_cost FLOAT, 
	model_name VARCHAR(500), 
	model_provider VARCHAR(500), 
	CONSTRAINT spans_pk PRIMARY KEY (trace_id, span_id), 
	CONSTRAINT fk_spans_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id), 
	CONSTRAINT fk_spans_trace_id FOREIGN KEY(trace_id) REFERENCES trace_info (request_id) ON DELETE CASCADE
);
INSERT INTO "spans" VALUES('tr-fe9d9f61c1b7677e119e0e7f865fb761',1,'18dea925cfa3e2e4',NULL,'traced','UNKNOWN','OK',1795277674829514789,1795277674830013361,'{"trace_id": "/p2fYcG3Z34Rng5/hl+3YQ==", "span_id": "GN6pJc+j4uQ=", "parent_span_id": null, "name": "traced", "start_time_unix_nano": 1795277674829514789, "end_time_unix_nano": 1795277674830013361, "events": [], "status": {"code": "STATUS_CODE_OK", "message": ""}, "attributes": {"mlflow.traceRequestId": "\"tr-fe9d9f61c1b7677e119e0e7f865fb761\"", "mlflow.spanType": "\"UNKNOWN\"", "mlflow.spanLogLevel": "10"}, "links": []}',NULL,NULL,NULL,NULL,NULL);
CREATE TABLE "tags" (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(8000), 
	run_uuid VARCHAR(32) NOT NULL, 
	CONSTRAINT tag_pk PRIMARY KEY ("key", run_uuid), 
	FOREIGN KEY(run_uuid) REFERENCES runs (run_uuid)
);
INSERT INTO "tags" VALUES('mlflow.user','ana','851d7b731c894f62afe2bbd7756d8413');
INSERT INTO "tags" VALUES('mlflow.source.name','make_mlflow.py','851d7b731c894f62afe2bbd7756d8413');
INSERT INTO "tags" VALUES('mlflow.source.type','LOCAL','851d7b731c894f62afe2bbd7756d8413');
INSERT INTO "tags" VALUES('note','a
b ü','851d7b731c894f62afe2bbd7756d8413');
INSERT INTO "tags" VALUES('mlflow.runName','one','851d7b731c894f62afe2bbd7756d8413');
INSERT INTO "tags" VALUES('mlflow.user','ana','a3f2c86810874ebc8ff6d564a24c3511');
INSERT INTO "tags" VALUES('mlflow.source.name','make_mlflow.py','a3f2c86810874ebc8ff6d564a24c3511');
INSERT INTO "tags" VALUES('mlflow.source.type','LOCAL','a3f2c86810874ebc8ff6d564a24c3511');
INSERT INTO "tags" VALUES('mlflow.parentRunId','851d7b731c894f62afe2bbd7756d8413','a3f2c86810874ebc8ff6d564a24c3511');
INSERT INTO "tags" VALUES('mlflow.runName','child','a3f2c86810874ebc8ff6d564a24c3511');
INSERT INTO "tags" VALUES('mlflow.runName','failed','4ec02596654b474f87e31c729f00670b');
INSERT INTO "tags" VALUES('mlflow.runName','gone','d42a6f8715ce4b69928426c388b2e225');
INSERT INTO "tags" VALUES('mlflow.runName','going','7e7768e954f848a884e04b8f56308e3c');
INSERT INTO "tags" VALUES('mlflow.runName','of old','4e79b50d1c17422f889d548ac39fb7e9');
CREATE TABLE "trace_info" (
	request_id VARCHAR(50) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	timestamp_ms BIGINT NOT NULL, 
	execution_time_ms BIGINT, 
	status VARCHAR(50) NOT NULL, 
	client_request_id VARCHAR(50), 
	request_preview VARCHAR(1000), 
	response_preview VARCHAR(1000), 
	db_payload_generation INTEGER DEFAULT '0' NOT NULL, trace_name VARCHAR(4096), session_id VARCHAR(250), input_tokens BIGINT, output_tokens BIGINT, total_tokens BIGINT, cache_read_input_tokens BIGINT, cache_creation_input_tokens BIGINT, cache_creation_input_tokens_above_1hr BIGINT, input_cost FLOAT, output_cost FLOAT, total_cost FLOAT, 
	CONSTRAINT trace_info_pk PRIMARY KEY (request_id), 
	CONSTRAINT fk_trace_info_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE
);
INSERT INTO "trace_info" VALUES('tr-fe9d9f61c1b7677e119e0e7f865fb761',1,1795277674829,0,'OK',NULL,NULL,NULL,2,'traced',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE "trace_request_metadata" (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(8000), 
	request_id VARCHAR(50) NOT NULL, 
	CONSTRAINT trace_request_metadata_pk PRIMARY KEY ("key", request_id), 
	CONSTRAINT fk_trace_request_metadata_request_id FOREIGN KEY(request_id) REFERENCES trace_info (request_id) ON DELETE CASCADE
);
INSERT INTO "trace_request_metadata" VALUES('mlflow.source.git.branch','','tr-fe9d9f61c1b7677e119e0e7f865fb761');
INSERT INTO "trace_request_metadata" VALUES('mlflow.source.git.commit','','tr-fe9d9f61c1b7677e119e0e7f865fb761');
INSERT INTO "trace_request_metadata" VALUES('mlflow.source.git.repoURL','','tr-fe9d9f61c1b7677e119e0e7f865fb761');
INSERT INTO "trace_request_metadata" VALUES('mlflow.source.name','make_mlflow.py','tr-fe9d9f61c1b7677e119e0e7f865fb761');
INSERT INTO "trace_request_metadata" VALUES('mlflow.source.type','LOCAL','tr-fe9d9f61c1b7677e119e0e7f865fb761');
INSERT INTO "trace_request_metadata" VALUES('mlflow.trace.infoFinalized','true','tr-fe9d9f61c1b7677e119e0e7f865fb761');
INSERT INTO "trace_request_metadata" VALUES('mlflow.trace.sizeBytes','1028','tr-fe9d9f61c1b7677e119e0e7f865fb761');
INSERT INTO "trace_request_metadata" VALUES('mlflow.trace.sizeStats','{"total_size_bytes": 1028, "num_spans": 1, "max": 424, "p25": 424, "p50": 424, "p75": 424}','tr-fe9d9f61c1b7677e119e0e7f865fb761');
INSERT INTO "trace_request_metadata" VALUES('mlflow.traceInputs','','tr-fe9d9f61c1b7677e119e0e7f865fb761');
INSERT INTO "trace_request_metadata" VALUES('mlflow.traceOutputs','','tr-fe9d9f61c1b7677e119e0e7f865fb761');
INSERT INTO "trace_request_metadata" VALUES('mlflow.trace_schema.version','3','tr-fe9d9f61c1b7677e119e0e7f865fb761');
INSERT INTO "trace_request_metadata" VALUES('mlflow.user','ana','tr-fe9d9f61c1b7677e119e0e7f865fb761');
CREATE TABLE "trace_tags" (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(8000), 
	request_id VARCHAR(50) NOT NULL, 
	CONSTRAINT trace_tag_pk PRIMARY KEY ("key", request_id), 
	CONSTRAINT fk_trace_tags_request_id FOREIGN KEY(request_id) REFERENCES trace_info (request_id) ON DELETE CASCADE
);
INSERT INTO "trace_tags" VALUES('mlflow.artifactLocation','/srv/mlflow/database/mlruns/1/traces/tr-fe9d9f61c1b7677e119e0e7f865fb761/artifacts','tr-fe9d9f61c1b7677e119e0e7f865fb761');
INSERT INTO "trace_tags" VALUES('mlflow.trace.spansLocation','TRACKING_STORE','tr-fe9d9f61c1b7677e119e0e7f865fb761');
CREATE TABLE workspaces (
	name VARCHAR(63) NOT NULL, 
	description TEXT, 
	default_artifact_root TEXT, trace_archival_location TEXT, trace_archival_retention VARCHAR(32), 
	CONSTRAINT workspaces_pk PRIMARY KEY (name)
);
INSERT INTO "workspaces" VALUES('default','Default workspace for legacy resources',NULL,NULL,NULL);
COMMIT;
